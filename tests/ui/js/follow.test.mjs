import assert from "node:assert/strict";
import { test } from "node:test";

import { Reading, Segments, rangeAt, wordAt, wordsIn } from "../../../ui/orpheus_ui/static/js/follow.js";

const RATE = 24_000;

/** Seconds of a loud tone with pauses `[from, to]` in it. */
function sound(seconds, ...pauses) {
  const samples = Int16Array.from({ length: seconds * RATE }, (_, i) => (i % 20 < 10 ? 9_000 : -9_000));
  for (const [from, to] of pauses) samples.fill(0, from * RATE, to * RATE);
  return samples;
}

const shown = (text, ranges) => ranges.map(({ start, end }) => text.slice(start, end));

test("a sentence stands where it was written, with the marks that open and close it", () => {
  const text = "  “Hello there!”  (How are you?) Fine.";
  const segments = [{ start: 2, end: 32, seconds: 0 }, { start: 33, end: 38, seconds: 2 }];
  const ranges = new Reading(text, "en").follow(segments, sound(3, [0.9, 1.1]));
  assert.deepEqual(shown(text, ranges), ["“Hello there!”", "(How are you?)", "Fine."]);
  assert.equal(ranges[2].seconds, 2);
});

test("a sentence within its segment begins at the pause that is nearest to its share of the letters", () => {
  const text = "One two three four. Five six seven eight.";
  const ranges = new Reading(text, "en").follow([{ start: 0, end: text.length, seconds: 0 }], sound(4, [1.6, 1.9]));
  assert.ok(Math.abs(ranges[1].seconds - 1.9) < 0.03, String(ranges[1].seconds));
});

test("without a pause its share of the letters decides", () => {
  const text = "One two three four. Five six seven eight.";
  const [, second] = new Reading(text, "en").follow([{ start: 0, end: text.length, seconds: 0 }], sound(4));
  assert.ok(Math.abs(second.seconds - (4 * 20) / text.length) < 0.01, String(second.seconds));
});

test("a segment whose words were changed stands where they were written, and one without a place is passed over", () => {
  const text = "👍🏽 It is **$5**. Second.";
  const ranges = new Reading(text, "en").follow(
    [{ start: 3, end: 16, seconds: 0 }, { start: 17, end: 17, seconds: 1 }, { start: 17, end: 24, seconds: 2 }], sound(3));
  assert.deepEqual(shown(text, ranges), ["It is **$5**.", "Second."]);
});

test("the range that sounds is the last one that has begun", () => {
  const ranges = [{ seconds: 0 }, { seconds: 1 }, { seconds: 2 }];
  assert.equal(rangeAt(ranges, 1.5), ranges[1]);
  assert.equal(rangeAt(ranges, 2), ranges[2]);
  assert.equal(rangeAt([], 2), null);
});

test("segments are kept for the newest speeches alone", () => {
  const events = new EventTarget();
  const segments = new Segments(events);
  for (let speech = 0; speech < 30; speech += 1) {
    const detail = { id: `s${speech}`, text: "Hi.", start: 0, end: 3, audio_seconds: 0 };
    events.dispatchEvent(Object.assign(new Event("speech.segment"), { detail }));
  }
  assert.deepEqual(segments.of("s0"), []);
  assert.deepEqual(segments.of("s29"), [{ start: 0, end: 3, seconds: 0 }]);
});

test("a word stands where it was written, and is marked while it sounds and a moment longer", () => {
  const text = "👍🏽 It is **$5**.";
  const words = wordsIn(text, [{ start: 0.1, end: 0.3, span: [3, 5] }, { start: 0.3, end: 0.5, span: [6, 8] }, { start: 2, end: 2.5, span: [11, 13] }]);
  assert.deepEqual(shown(text, words), ["It", "is", "$5"]);
  const marked = (second) => words.indexOf(wordAt(words, second));
  assert.deepEqual([0, 0.2, 0.4, 0.6, 1, 2.1, 3].map(marked), [-1, 0, 1, 1, -1, 2, -1]);
});
