import assert from "node:assert/strict";
import { test } from "node:test";

import { fileName } from "../../../ui/orpheus_ui/static/js/download.js";

const CREATED = new Date(2026, 10, 23, 17, 26).getTime();

test("a file's name tells the voice, how the text begins, and when", () => {
  assert.equal(fileName("tara", "Hello there!", CREATED), "orpheus-tara-hello-there-20261123-1726");
});

test("tags are not in it, and what a path could be made of is not", () => {
  assert.equal(fileName("leo", "<laugh> ../../etc/passwd", CREATED), "orpheus-leo-etc-passwd-20261123-1726");
});

test("letters of every script are kept, and it stays short", () => {
  const name = fileName("长乐", "你好，世界。", CREATED);
  assert.equal(name, "orpheus-长乐-你好-世界-20261123-1726");
  assert.ok(fileName("tara", "x".repeat(500), CREATED).length < 80);
});

test("a text without letters leaves its place out", () => {
  assert.equal(fileName("tara", "…!", CREATED), "orpheus-tara-20261123-1726");
});
