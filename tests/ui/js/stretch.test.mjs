import assert from "node:assert/strict";
import { test } from "node:test";

import { Stretch } from "../../../ui/orpheus_ui/static/js/stretch.js";

const RATE = 24_000;
const HERTZ = 220;
const tone = Int16Array.from({ length: 2 * RATE }, (_, i) => 12_000 * Math.sin((2 * Math.PI * HERTZ * i) / RATE));

function stretched(rate) {
  const stretch = new Stretch(rate);
  const parts = [];
  for (let from = 0; from < tone.length - RATE / 2; from += RATE / 2) parts.push(...stretch.next(tone, from, RATE / 2));
  return parts;
}

for (const rate of [0.5, 0.75, 1.25, 1.5, 2]) {
  test(`at ${rate} times the pace a tone is that much shorter, and as high and loud as before`, () => {
    const heard = stretched(rate);
    const expected = (1.5 * RATE) / rate;
    assert.ok(Math.abs(heard.length - expected) / expected < 0.05, `${heard.length} of ${expected}`);
    const rising = heard.filter((value, i) => i > 0 && heard[i - 1] < 0 && value >= 0).length;
    assert.ok(Math.abs((rising / heard.length) * RATE - HERTZ) < 4, String((rising / heard.length) * RATE));
    const loudest = Math.max(...heard.map(Math.abs));
    const power = Math.sqrt(heard.reduce((sum, value) => sum + value * value, 0) / heard.length);
    assert.ok(loudest < 0.38, String(loudest));
    assert.ok(power > 0.23, String(power));
  });
}
