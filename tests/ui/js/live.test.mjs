import assert from "node:assert/strict";
import { test } from "node:test";

globalThis.document = /** @type {any} */ ({ baseURI: "https://here/below/" });
const { LiveLine } = await import("../../../ui/orpheus_ui/static/js/live_line.js");

class Socket extends EventTarget {
  readyState = 0;
  sent = [];

  constructor(url, protocols) {
    super();
    Object.assign(this, { url, protocols });
  }
  send(text) {
    this.sent.push(JSON.parse(text));
  }
  close() {
    this.readyState = 3;
  }
  open() {
    this.readyState = 1;
    this.dispatchEvent(new Event("open"));
  }
  tell(data) {
    this.dispatchEvent(Object.assign(new Event("message"), { data: data instanceof ArrayBuffer ? data : JSON.stringify(data) }));
  }
}

function opened(key = null) {
  const told = [];
  const names = ["started", "audio", "words", "done", "interrupted", "failed"];
  let socket;
  const Opening = class extends Socket {
    constructor(...given) {
      super(...given);
      socket = this;
    }
  };
  const heard = Object.fromEntries(names.map((name) => [name, (value) => told.push([name, value])]));
  const line = new LiveLine(key, heard, /** @type {any} */ (Opening));
  return { line, socket, told };
}

test("what is written before the socket is open is sent when it is, in order, with the key as a subprotocol", () => {
  const { line, socket } = opened("secret");
  assert.equal(socket.url, "wss://here/below/v1/audio/speech/stream");
  assert.deepEqual(socket.protocols, ["openai-insecure-api-key.secret"]);
  line.begin({ model: "preview", voice: "tara" });
  line.say("Hello ");
  assert.deepEqual(socket.sent, []);
  socket.open();
  line.finish();
  line.interrupt(1234.4);
  assert.deepEqual(socket.sent.map(({ type }) => type), ["session.config", "input.text", "input.done", "interrupt"]);
  assert.deepEqual([socket.sent[0].voice, socket.sent[0].response_format, socket.sent[3].played_ms], ["tara", "pcm", 1234]);
});

test("sound, words and the end of the utterance are told, of one that is over no more", () => {
  const { line, socket, told } = opened();
  socket.open();
  line.begin({});
  socket.tell({ type: "audio.start", utterance_index: 0, speech_id: "req_1.0" });
  socket.tell(Int16Array.from([1, 2]).buffer);
  socket.tell({ type: "words", utterance_index: 0, words: [{ word: "Hello" }] });
  socket.tell({ type: "session.done", utterance_index: 0 });
  line.begin({});
  socket.tell({ type: "session.done", utterance_index: 0 });
  assert.deepEqual(told.map(([name]) => name), ["started", "audio", "words", "done"]);
  assert.deepEqual([told[0][1], [...told[1][1]]], ["req_1.0", [1, 2]]);
});

test("an error is told once, and the socket closed; one that the page closes is none", () => {
  for (const [close, expected] of [[false, ["failed"]], [true, []]]) {
    const { line, socket, told } = opened();
    socket.open();
    if (close) line.close();
    socket.tell({ type: "error", message: "No.", code: "voice_not_found" });
    socket.dispatchEvent(new Event("close"));
    assert.deepEqual(told.map(([name]) => name), expected);
  }
});
