import assert from "node:assert/strict";
import { test } from "node:test";

import { again, notable } from "../../../ui/orpheus_ui/static/js/verdicts.js";

test("what is to be listened to comes before what was mended, and what is well is not told", () => {
  const verdicts = ["ok", "unchecked", "retried", "cut", "suspect:length"].map((verdict) => ({ verdict }));
  assert.deepEqual(notable(verdicts).map(({ verdict }) => verdict), ["cut", "suspect:length", "retried", "unchecked"]);
  assert.deepEqual(notable(null), []);
});

test("a part is spoken again as it was wanted, with another draw, by whoever said it", () => {
  const text = "👍 First. Second.\n\nAnna: Well.\nBen: Yes. No.\n\nThe end.";
  const wanted = { text, voice: "tara", seed: 7, speed: 1.5 };
  const place = (part) => {
    const start = [...text.slice(0, text.indexOf(part))].length;
    return { start, end: start + [...part].length };
  };
  assert.deepEqual(again({ text, wanted }, place("Second.")), { text: "Second.", voice: "tara", speed: 1.5 });
  const cast = { Anna: "leah", ben: "leo" };
  const said = (part) => again({ text, wanted: { ...wanted, cast } }, place(part)).text;
  assert.deepEqual(["First.", "Well.", "No.", "The end."].map(said), ["First.", "Anna: Well.", "Ben: No.", "The end."]);
});
