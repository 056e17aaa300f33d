// Elements of the page: made without HTML strings, which its Content-Security-Policy would refuse.

const SVG = "http://www.w3.org/2000/svg";

/**
 * The element with that id, which index.html has.
 * @param {string} id
 * @returns {any} of the kind that it has there
 */
export const byId = (id) => document.getElementById(id);

/** Let an element say `words`. What it says already is not written again: a browser would lay it out once more. */
export function say(place, words) {
  if (place.textContent !== words) place.textContent = words;
}

/** Set an attribute, likewise. */
export function tell(place, name, value) {
  if (place.getAttribute(name) !== String(value)) place.setAttribute(name, value);
}

/** A new element. An attribute named `on…` is a listener; true stands for a bare attribute, false and null for none. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child != null && child !== false));
  return made;
}

/** One of the symbols that stand in index.html. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

/** Arrow keys, Home and End move through `items()`, as tabs and groups of choices are expected to. */
export function roving(container, items, choose) {
  container.addEventListener("keydown", (event) => {
    const all = items();
    const at = all.indexOf(document.activeElement);
    if (at < 0) return;
    const to = {
      ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: all.length - 1,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const next = all[(to + all.length) % all.length];
    choose(next);
    (byId(next.id) ?? next).focus(); // choosing may have drawn the items anew
  });
}
