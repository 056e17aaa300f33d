import assert from "node:assert/strict";
import { test } from "node:test";

import { speakersIn } from "../../../ui/orpheus_ui/static/js/speakers.js";

test("names at the start of lines are speakers, marked up or not, once each", () => {
  const text = "**Anna:** Hello!\n- Ben: Hi.\n> ANNA: And so on.\nМария Ивановна: Да.\n白芷：你好。";
  assert.deepEqual(speakersIn(text), ["Anna", "Ben", "Мария Ивановна", "白芷"]);
});

test("a remark, an address, a time and a heading are none", () => {
  for (const text of ["Note: take care.\nAnd go on.", "https://a.b\nhttp://c.d", "9:30 here\n10:15 there", "The list:\nThe rest:\n", "And then she said to him: no.\nAnd then he said to her: yes.", ""]) {
    assert.deepEqual(speakersIn(text), [], text);
  }
});

test("a long text without an end is looked through in no time", () => {
  assert.deepEqual(speakersIn("a ".repeat(25_000) + "b".repeat(25_000)), []);
});
