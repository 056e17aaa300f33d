// A socket to the server over which text goes as it is written, and speech comes back: /v1/audio/speech/stream.

import { address, RefusedError, UnreachableError } from "./api.js";
import { ArrivingPCM } from "./arriving.js";

const PATH = "v1/audio/speech/stream";
const KEY = "openai-insecure-api-key."; // a browser's socket can send no headers

/**
 * One socket; it closes when it is told to, or with an error.
 *
 * `heard` is told `started(id)`, the speech's in the server's events, `audio(samples)`, `words([{start, end, span}])`, `done()` at the end of each utterance,
 * `interrupted({text_spoken, text_remaining, played_ms})`, and `failed(error)`, once.
 */
export class LiveLine {
  #socket;
  #heard;
  #waiting = [];
  #arriving = null;
  #utterance = -1; // the number of the last one that was begun
  #over = false;

  /** `key` is the caller's, or null; `Socket` is the browser's. */
  constructor(key, heard, Socket = WebSocket) {
    this.#heard = heard;
    this.#socket = new Socket(address(PATH).replace(/^http/, "ws"), key ? [KEY + key] : []);
    this.#socket.binaryType = "arraybuffer";
    this.#socket.addEventListener("open", () => this.#flush());
    this.#socket.addEventListener("message", ({ data }) => this.#take(data));
    this.#socket.addEventListener("close", () => this.#fail(new UnreachableError()));
  }

  /** An utterance begins, once the one before has ended: `wanted` is a request as for /api/generate, without a text. */
  begin(wanted) {
    this.#utterance += 1;
    this.#arriving = new ArrivingPCM((samples) => this.#heard.audio(samples));
    this.#send({ type: "session.config", ...wanted, response_format: "pcm", stream_audio: true, timestamp_granularities: ["word"] });
  }

  /** More of the text. */
  say(text) {
    this.#send({ type: "input.text", text });
  }

  /** The utterance is written; what comes next is another. */
  finish() {
    this.#send({ type: "input.done" });
  }

  /** The listener cuts in, who has heard so many milliseconds of the utterance. */
  interrupt(played) {
    this.#send({ type: "interrupt", played_ms: Math.round(played) });
  }

  close() {
    this.#over = true;
    this.#socket.close();
  }

  #send(message) {
    this.#waiting.push(JSON.stringify(message));
    this.#flush();
  }

  #flush() {
    if (this.#socket.readyState !== 1) return; // not open yet
    for (const message of this.#waiting.splice(0)) this.#socket.send(message);
  }

  #take(data) {
    if (typeof data !== "string") {
      this.#arriving.take(new Uint8Array(data));
      return;
    }
    const message = JSON.parse(data);
    if (message.type === "error") this.#fail(new RefusedError(400, message, message.retry_after ?? null));
    else if (message.utterance_index !== this.#utterance) return;
    else if (message.type === "audio.start") this.#heard.started(message.speech_id);
    else if (message.type === "words") this.#heard.words(message.words);
    else if (message.type === "session.done") this.#heard.done();
    else if (message.type === "interrupted") this.#heard.interrupted(message);
  }

  #fail(error) {
    if (this.#over) return;
    this.#over = true;
    this.#socket.close();
    this.#heard.failed(error);
  }
}
