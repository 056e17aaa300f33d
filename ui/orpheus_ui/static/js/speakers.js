// Who speaks in a text whose lines begin with a name: `Anna: …`, as the server reads them once they are in its cast.

const LABEL = /^[ \t>]*(?:[-+*][ \t]+)?[*_]{0,3}\[?(?<name>\p{L}[\p{L}\p{M}\p{N}'’. -]{0,39}?)\]?[*_]{0,3}[ \t]?[:：](?!\/\/)[*_]{0,3}[ \t]*(?=\S)/gmu;
const MOST = 12;
const MOST_WORDS = 3; // more is a sentence
const FEWEST_LINES = 2; // one alone is a remark

/** The names that lines of `text` begin with, as they are first written, in their order; none where it is no dialogue. */
export function speakersIn(text) {
  const found = new Map();
  let lines = 0;
  for (const { groups } of text.matchAll(LABEL)) {
    const words = groups.name.trim().split(/\s+/);
    if (words.length > MOST_WORDS) continue;
    const name = words.join(" ");
    lines += 1;
    if (found.size < MOST && !found.has(key(name))) found.set(key(name), name);
  }
  return lines < FEWEST_LINES ? [] : [...found.values()];
}

/** The name, with its colon, of whoever of `names` is speaking at the end of `before`; "" for nobody: a blank line ends a turn. */
export function turnAt(before, names) {
  const known = new Set(names.map(key));
  const paragraph = before.split(/\n[ \t]*\n/).at(-1);
  const turns = [...`${paragraph}.`.matchAll(LABEL)].map(({ groups }) => groups.name.trim().split(/\s+/).join(" "));
  const name = turns.findLast((each) => known.has(key(each)));
  return name ? `${name}: ` : "";
}

/** One name in any case. */
export const key = (name) => name.toLowerCase();
