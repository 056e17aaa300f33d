// What the page remembers of a person's choices, in this browser.

const PREFIX = "orpheus.";

/** The value kept under `name`, else `fallback`. */
export function recall(name, fallback) {
  try {
    const kept = localStorage.getItem(PREFIX + name);
    return kept === null ? fallback : JSON.parse(kept);
  } catch {
    return fallback;
  }
}

/** Keep a value that JSON can hold. */
export function remember(name, value) {
  localStorage.setItem(PREFIX + name, JSON.stringify(value));
}
