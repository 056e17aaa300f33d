import assert from "node:assert/strict";
import { test } from "node:test";

import { ArrivingPCM } from "../../../ui/orpheus_ui/static/js/arriving.js";
import { slowLine } from "../../../ui/orpheus_ui/static/js/line.js";
import { OggOpus } from "../../../ui/orpheus_ui/static/js/ogg.js";

/** A page that holds `packets`; one that is `open` goes on on the next page. */
function page(packets, { granule = 0n, flags = 0, open = false } = {}) {
  const lacing = packets.flatMap((packet, i) => {
    const whole = Array(Math.floor(packet.length / 255)).fill(255);
    return open && i === packets.length - 1 ? whole : [...whole, packet.length % 255];
  });
  const bytes = new Uint8Array(27 + lacing.length + packets.reduce((sum, { length }) => sum + length, 0));
  bytes.set(new TextEncoder().encode("OggS"));
  bytes[5] = flags;
  new DataView(bytes.buffer).setBigInt64(6, granule, true);
  bytes[26] = lacing.length;
  bytes.set(lacing, 27);
  let at = 27 + lacing.length;
  for (const packet of packets) {
    bytes.set(packet, at);
    at += packet.length;
  }
  return bytes;
}

const bytes = (length, fill) => new Uint8Array(length).fill(fill);
const head = new Uint8Array(19);
new DataView(head.buffer).setUint16(10, 312, true);

const stream = [
  page([head], { flags: 2 }),
  page([bytes(40, 9)]),
  page([bytes(100, 1), bytes(255, 2), bytes(510, 3)], { open: true }),
  page([bytes(7, 3), bytes(0, 0)], { flags: 1 }),
  page([bytes(300, 4)], { flags: 4, granule: 48_312n }),
].reduce((all, each) => Uint8Array.from([...all, ...each]));

test("packets come out of an Ogg stream whole, whatever the pieces it comes in", () => {
  for (const size of [1, 13, 300, stream.length]) {
    const ogg = new OggOpus();
    const packets = [];
    for (let at = 0; at < stream.length; at += size) packets.push(...ogg.push(stream.subarray(at, at + size)));
    assert.deepEqual(packets.map((packet) => [packet.length, packet[0]]), [[100, 1], [255, 2], [517, 3], [0, undefined], [300, 4]]);
    assert.equal(ogg.preSkip, 312);
    assert.equal(ogg.total, 48_000);
  }
});

test("what is no Ogg stream is refused", () => {
  assert.throws(() => new OggOpus().push(bytes(100, 7)), TypeError);
});

test("PCM loses no sample where a piece ends within one", () => {
  const heard = [];
  const arriving = new ArrivingPCM((samples) => heard.push(...samples));
  const sent = new Uint8Array(Int16Array.from([1, -2, 300, -400]).buffer);
  for (const [from, to] of [[0, 1], [1, 2], [2, 5], [5, 8]]) arriving.take(sent.slice(from, to));
  assert.deepEqual(heard, [1, -2, 300, -400]);
});

test("a line is slow where the browser says so, or where speech had gaps", () => {
  assert.equal(slowLine({ downlink: 0.25 }, false), true);
  assert.equal(slowLine({ downlink: 10 }, false), false);
  assert.equal(slowLine({ downlink: 10, saveData: true }, false), true);
  assert.equal(slowLine({ downlink: 10 }, true), true);
  assert.equal(slowLine(undefined, false), false);
});
