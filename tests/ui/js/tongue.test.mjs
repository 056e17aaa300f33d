import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { languageOf } from "../../../ui/orpheus_ui/static/js/tongue.js";

const examples = JSON.parse(readFileSync(new URL("../../../ui/orpheus_ui/static/examples.json", import.meta.url), "utf8"));

test("every example of the page is told to be in its own language, or cannot be told", () => {
  for (const [language, texts] of Object.entries(examples)) {
    for (const text of Object.values(texts)) assert.equal(languageOf(text), language, text);
  }
});

test("a text in a script of none of the voices is told, and Japanese is not taken for Chinese", () => {
  assert.equal(languageOf("Привет, как дела?"), "");
  assert.equal(languageOf("مرحبا بالعالم"), "");
  assert.equal(languageOf("今日はとても天気がいいですね。"), "ja");
});

test("names, numbers, greetings and nothing are not judged", () => {
  for (const text of ["", "…", "42", "Hello!", "Max Müller", "<laugh> <sigh>", "Orpheus, Eurydike, Berlin, Paris, Roma, Madrid"]) {
    assert.equal(languageOf(text), null, text);
  }
});

test("a word of another language does not turn a text", () => {
  assert.equal(languageOf("The word Übermut is German, and it is not easy to translate for the two of you."), "en");
  assert.equal(languageOf("我们用 Python 写这个程序。"), "zh");
});
