import assert from "node:assert/strict";
import { test } from "node:test";

import { fromLink, linkTo } from "../../../ui/orpheus_ui/static/js/link.js";

test("a link carries text, voice and settings there and back", () => {
  const request = { text: "Hello & goodbye? 100 % 你好\n<laugh> #1", model: "medium-3b", voice: "长乐", speed: 1.25, seed: 7 };
  const link = new URL(linkTo(request, "https://example.com/speech/#old"));
  assert.equal(link.pathname, "/speech/");
  assert.equal(link.search, "");
  const { text, model, voice, tuning } = fromLink(link.hash);
  assert.deepEqual({ text, model, voice, ...tuning }, request);
});

test("what is no link of ours carries nothing, and what is no number is left out", () => {
  assert.equal(fromLink(""), null);
  assert.equal(fromLink("#history"), null);
  assert.deepEqual(fromLink("#voice=leo&speed=fast").tuning, {});
});
