// A link that carries a text, who speaks it and how. It stands behind the #, which no server sees.

/** The page's address with a request, `{text, model, voice, …}`, in it. */
export function linkTo(request, base) {
  const url = new URL(base);
  url.hash = String(new URLSearchParams(Object.entries(request).filter(([, value]) => value != null && value !== "").map(([name, value]) => [name, typeof value === "object" ? JSON.stringify(value) : String(value)])));
  return url.href;
}

/** What a link carries: `{text, model, voice, cast, tuning}`, of which the numbers are numbers; null where it carries none. */
export function fromLink(hash) {
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  const { text, model, voice, cast, ...others } = Object.fromEntries(given);
  if (text === undefined && voice === undefined) return null;
  const numbers = Object.entries(others).map(([name, value]) => /** @type {[string, number]} */ ([name, Number(value)]));
  return { text, model, voice, cast: castIn(cast), tuning: Object.fromEntries(numbers.filter(([, value]) => Number.isFinite(value))) };
}

/** Voices by names; {} for anything else. */
function castIn(json) {
  try {
    return Object.fromEntries(Object.entries(JSON.parse(json)).filter(([, voice]) => typeof voice === "string"));
  } catch {
    return {};
  }
}
