// Which sentence sounds when: the server's segments, each at its place in the text as it was written.

import { SAMPLE_RATE } from "./player.js";

const REMEMBERED_SPEECHES = 20;
const SETTLE_MS = 1_000; // events and audio come over two connections

const WORD_LINGERS = 0.15; // seconds, so that the mark does not flicker between words

const PAUSE_SEARCH_SECONDS = 0.8; // on both sides of a guess
const PAUSE_STEP_SECONDS = 0.02;
const SHORTEST_PAUSE_STEPS = 5;
const QUIET = 330; // of 32 768: -40 dB

/** Gathers the segments of every speech from the server's events, by the speech's id. */
export class Segments {
  #bySpeech = new Map();
  #words = new Map();
  #ended = new Set();
  #timed = new Set();
  #verdicts = new Map();
  #events;

  constructor(events) {
    this.#events = events;
    events.addEventListener("speech.verified", ({ detail: { id, verdict, start, end, tries } }) => {
      add(this.#verdicts, id, [{ verdict, start, end, tries }]);
    });
    events.addEventListener("speech.ended", ({ detail }) => {
      this.#ended.add(detail.id);
      if (this.#ended.size > REMEMBERED_SPEECHES) this.#ended.delete(this.#ended.values().next().value);
    });
    events.addEventListener("speech.segment", ({ detail }) => {
      add(this.#bySpeech, detail.id, [{ start: detail.start, end: detail.end, seconds: detail.audio_seconds }]);
    });
    events.addEventListener("speech.words", ({ detail }) => {
      if (detail.last) this.#timed.add(detail.id);
      if (this.#timed.size > REMEMBERED_SPEECHES) this.#timed.delete(this.#timed.values().next().value);
      add(this.#words, detail.id, detail.words.map(({ start, end, span }) => ({ start, end, span })));
    });
  }

  /** When its words sound, as far as is known: `[{start, end, span}]`, seconds, and places in the text in characters. */
  words(id) {
    return this.#words.get(id) ?? [];
  }

  /** `[{start, end, seconds}]`, as far as is known: places in the text, counted in characters (code points). */
  of(id) {
    return this.#bySpeech.get(id) ?? [];
  }

  /** Whether its segments were spoken as they should be: `[{verdict, start, end, tries}]`, as far as anybody looked. */
  verdicts(id) {
    return this.#verdicts.get(id) ?? [];
  }

  /** Its segments, once no more will come, of words either. */
  async all(id) {
    const deadline = AbortSignal.timeout(SETTLE_MS);
    await new Promise((resolve) => {
      const look = () => ((this.#ended.has(id) && this.#timed.has(id)) || deadline.aborted) && resolve();
      for (const event of ["speech.ended", "speech.words"]) this.#events.addEventListener(event, look, { signal: deadline });
      deadline.addEventListener("abort", look);
      look();
    });
    return this.of(id);
  }
}

function add(bySpeech, id, more) {
  const known = [...(bySpeech.get(id) ?? []), ...more];
  bySpeech.delete(id);
  bySpeech.set(id, known);
  if (bySpeech.size > REMEMBERED_SPEECHES) bySpeech.delete(bySpeech.keys().next().value);
}

/** Words as they stand in a text, `[{start, end, seconds, until}]`: places in UTF-16, in which the page counts, in order. */
export function wordsIn(text, words) {
  let [point, unit] = [0, 0];
  const unitAt = (to) => {
    if (to < point) [point, unit] = [0, 0];
    for (; point < to && unit < text.length; point += 1) unit += text.codePointAt(unit) > 0xffff ? 2 : 1;
    return unit;
  };
  return words.map(({ start, end, span }) => ({ start: unitAt(span[0]), end: unitAt(span[1]), seconds: start, until: end }));
}

/**
 * A text being read: where each sentence stands in it, and when it sounds.
 *
 * The server says when a segment of some sentences begins, and where it stands. When a sentence
 * begins within its segment is judged by its share of the letters, and moved to the pause in the sound that is nearest.
 */
export class Reading {
  #text;
  #splitter;
  #point = 0; // a character, and where it stands in UTF-16, in which the page counts
  #unit = 0;
  #taken = 0;
  #located = [];
  #settled = []; // the sentences of all segments but the last, whose end is not known yet

  constructor(text, language) {
    this.#text = text;
    this.#splitter = new Intl.Segmenter(language, { granularity: "sentence" });
  }

  /** A text that is still being written has got longer. */
  set text(text) {
    this.#text = text;
  }

  /** The sentences `[{start, end, seconds}]` of `segments`, `[{start, end, seconds}]`, which only ever get more. */
  follow(segments, samples) {
    for (const segment of segments.slice(this.#taken)) this.#locate(segment, samples);
    this.#taken = segments.length;
    const last = this.#located.at(-1);
    return last ? [...this.#settled, ...this.#sentences(last, samples.length / SAMPLE_RATE, samples)] : [];
  }

  #locate({ start, end, seconds }, samples) {
    const from = this.#unitAt(start);
    const to = this.#unitAt(end);
    if (!(to > from)) return;
    const before = this.#located.at(-1);
    if (before) this.#settled.push(...this.#sentences(before, seconds, samples));
    this.#located.push({
      start: withOpening(this.#text, from, before?.end ?? 0), end: withClosing(this.#text, to), seconds,
    });
  }

  /** Where a character stands in the string; characters are asked for in order. */
  #unitAt(point) {
    for (; this.#point < point && this.#unit < this.#text.length; this.#point += 1)
      this.#unit += this.#text.codePointAt(this.#unit) > 0xffff ? 2 : 1;
    return this.#unit;
  }

  #sentences({ start, end, seconds }, until, samples) {
    const pace = Math.max(0, until - seconds) / (end - start);
    const found = [];
    for (const { index, segment } of this.#splitter.segment(this.#text.slice(start, end))) {
      const from = withOpening(this.#text, start + index, start);
      if (found.length) found.at(-1).end = Math.min(found.at(-1).end, from);
      const begins = index ? pauseNear(samples, seconds + index * pace) : seconds;
      found.push({ start: from, end: start + index + segment.trimEnd().length, seconds: begins });
    }
    return found;
  }
}

/** The range that sounds at a second of the audio, or null. */
export const rangeAt = (ranges, second) => ranges.findLast((range) => range.seconds <= second + 0.01) ?? null;

/** The word that sounds at a second of the audio, or null between two; `words` are in the order in which they sound. */
export function wordAt(words, second) {
  let [low, high] = [0, words.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (words[middle].seconds <= second + 0.01) low = middle + 1;
    else high = middle;
  }
  const word = words[low - 1];
  return word && second <= word.until + WORD_LINGERS ? word : null;
}

/** The end of the longest pause around a second of the sound; the second itself where there is none. */
function pauseNear(samples, second) {
  const size = SAMPLE_RATE * PAUSE_STEP_SECONDS;
  const from = Math.max(0, Math.floor((second - PAUSE_SEARCH_SECONDS) / PAUSE_STEP_SECONDS));
  const to = Math.ceil((second + PAUSE_SEARCH_SECONDS) / PAUSE_STEP_SECONDS);
  let [run, longest, found] = [0, SHORTEST_PAUSE_STEPS, null];
  for (let step = from; step < to; step += 1) {
    run = quiet(samples, step * size, (step + 1) * size) ? run + 1 : 0;
    if (run >= longest) [longest, found] = [run, (step + 1) * PAUSE_STEP_SECONDS];
  }
  return found ?? second;
}

function quiet(samples, from, to) {
  if (to > samples.length) return false;
  for (let i = from; i < to; i += 4) if (Math.abs(samples[i]) > QUIET) return false;
  return true;
}

/** The start of a sentence with the marks that open it. */
function withOpening(text, start, limit) {
  let at = start;
  while (at > limit && /[<([{"'“‘«„¿¡「『《]/u.test(text[at - 1])) at -= 1;
  return at;
}

/** The end of a sentence with the marks that close it. */
function withClosing(text, end) {
  let at = end;
  while (at < text.length && /[^\s\p{L}\p{N}<([{“‘«„¿¡「『《]/u.test(text[at])) at += 1;
  return at;
}
