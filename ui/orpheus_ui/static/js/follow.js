// Which words sound when: the server's segments, found again in the text as it was written.

const REMEMBERED_SPEECHES = 20;
const SETTLE_MS = 1_000; // events and audio come over two connections

/** Gathers the segments of every speech from the server's events, by the speech's id. */
export class Segments {
  #bySpeech = new Map();
  #ended = new Set();
  #events;

  constructor(events) {
    this.#events = events;
    events.addEventListener("speech.ended", ({ detail }) => {
      this.#ended.add(detail.id);
      if (this.#ended.size > REMEMBERED_SPEECHES) this.#ended.delete(this.#ended.values().next().value);
    });
    events.addEventListener("speech.segment", ({ detail }) => {
      const segments = this.of(detail.id);
      segments.push({ text: detail.text, seconds: detail.audio_seconds });
      this.#bySpeech.delete(detail.id);
      this.#bySpeech.set(detail.id, segments);
      if (this.#bySpeech.size > REMEMBERED_SPEECHES) this.#bySpeech.delete(this.#bySpeech.keys().next().value);
    });
  }

  /** `[{text, seconds}]`, as far as is known. */
  of(id) {
    return this.#bySpeech.get(id) ?? [];
  }

  /** The same, once no more will come. */
  async all(id) {
    const deadline = AbortSignal.timeout(SETTLE_MS);
    await new Promise((resolve) => {
      const look = () => (this.#ended.has(id) || deadline.aborted) && resolve();
      this.#events.addEventListener("speech.ended", look, { signal: deadline });
      deadline.addEventListener("abort", look);
      look();
    });
    return this.of(id);
  }
}

/** Where each segment stands in `text`, `[{start, end, seconds}]`; the server may have changed spaces and marks. */
export function locate(text, segments) {
  const { letters, places } = letterPlaces(text);
  let from = 0;
  const found = [];
  for (const { text: spoken, seconds } of segments) {
    const wanted = letterPlaces(spoken).letters;
    const at = wanted ? letters.indexOf(wanted, from) : -1;
    if (at < 0) continue;
    from = at + wanted.length;
    found.push({ start: places[at], end: places[from - 1] + 1, seconds });
  }
  return found.map((range, i) => ({ ...range, end: withMarks(text, range.end, found[i + 1]?.start) }));
}

/** The range that sounds at a second of the audio, or null. */
export const rangeAt = (ranges, second) => ranges.findLast((range) => range.seconds <= second + 0.01) ?? null;

/** Letters and digits only, and where each stood: what normalising a text leaves as it is. */
function letterPlaces(text) {
  let letters = "";
  const places = [];
  for (let i = 0; i < text.length; i += 1) {
    if (/[\p{L}\p{M}\p{N}\p{Cs}]/u.test(text[i])) {
      letters += text[i].toLowerCase()[0];
      places.push(i);
    }
  }
  return { letters, places };
}

/** The end of a sentence with the marks that close it. */
function withMarks(text, end, limit = text.length) {
  while (end < limit && /[^\s\p{L}\p{N}<([{“‘«¿¡]/u.test(text[end])) end += 1;
  return end;
}
