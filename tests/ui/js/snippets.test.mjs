import assert from "node:assert/strict";
import { test } from "node:test";

import { snippets } from "../../../ui/orpheus_ui/static/js/snippets.js";

const BASE = "http://localhost:8899";
const WANTED = { text: "It's “fine”.", model: "tts-1", voice: "tara", response_format: "mp3", temperature: 0.7 };

test("curl's body is the request, also with an apostrophe in the text", () => {
  const { curl } = snippets(WANTED, BASE, false);
  const json = /-d '([\s\S]*)' \\\n/.exec(curl)[1].replaceAll("'\\''", "'");
  assert.deepEqual(JSON.parse(json), { model: "tts-1", voice: "tara", input: WANTED.text, response_format: "mp3", temperature: 0.7 });
  assert.ok(!curl.includes("Authorization"));
});

test("what OpenAI's API does not know goes into the Python SDK's extra_body", () => {
  assert.match(snippets(WANTED, BASE, false).Python, /extra_body=\{"temperature":0.7\}/);
  assert.doesNotMatch(snippets({ ...WANTED, temperature: undefined }, BASE, false).JavaScript, /temperature/);
});

test("with keys every program has a place for one, and none holds a real one", () => {
  for (const [name, program] of Object.entries(snippets(WANTED, BASE, true))) assert.match(program, /YOUR_KEY/, name);
});
