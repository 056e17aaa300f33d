// What happens on the server, as it happens: GET /api/events, kept up for as long as somebody looks.

import { request } from "./api.js";

const SILENCE_MS = 25_000; // a heartbeat comes every 10 s
const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 5_000;
const HIDDEN_MS = 60_000; // a browser allows few connections to one server, and a hidden tab should not hold one

/**
 * Dispatches each event under its own name, its data in `detail`; and `connection` with "there", "lost", or "locked":
 * the server is there, but not without a key.
 */
export class ServerEvents extends EventTarget {
  #abort = null;
  #connected = null;
  #hidden = null;
  #busy;

  /** `busy()` tells whether the page needs the events although it is hidden. */
  constructor(busy) {
    super();
    this.#busy = busy;
    document.addEventListener("visibilitychange", () => this.#onVisibility());
    addEventListener("online", () => this.restart());
  }

  /** Begin, or begin anew at once. */
  restart() {
    this.#abort?.abort();
    this.#abort = new AbortController();
    this.#keepUp(this.#abort.signal);
  }

  async #keepUp(signal) {
    let retry = FIRST_RETRY_MS;
    while (!signal.aborted) {
      try {
        await this.#listen(signal, () => (retry = FIRST_RETRY_MS));
      } catch (error) {
        if (signal.aborted) return;
        this.#tell(error.status === 401 ? "locked" : error.status < 500 ? "there" : "lost");
      }
      await new Promise((resolve) => setTimeout(resolve, retry * (0.8 + 0.4 * Math.random())));
      retry = Math.min(retry * 1.6, LONGEST_RETRY_MS);
    }
  }

  async #listen(signal, onOpen) {
    const silence = new AbortController();
    let timer = null;
    const heard = () => {
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENCE_MS);
    };
    heard();
    try {
      const response = await request("api/events", { signal: AbortSignal.any([signal, silence.signal]) });
      onOpen();
      this.#tell("there");
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        heard();
        const blocks = (text + value).replaceAll("\r\n", "\n").split("\n\n");
        text = blocks.pop();
        for (const block of blocks) this.#dispatch(block);
      }
    } finally {
      clearTimeout(timer);
    }
    throw new Error();
  }

  #dispatch(block) {
    const field = (name) =>
      block.split("\n").filter((line) => line.startsWith(`${name}:`)).map((line) => line.slice(name.length + 1).trim());
    const [type] = field("event");
    if (type) this.dispatchEvent(new CustomEvent(type, { detail: JSON.parse(field("data").join("\n")) }));
  }

  #tell(connected) {
    if (connected === this.#connected) return;
    this.#connected = connected;
    this.dispatchEvent(new CustomEvent("connection", { detail: connected }));
  }

  #onVisibility() {
    clearTimeout(this.#hidden);
    if (!document.hidden) {
      if (this.#abort?.signal.aborted) this.restart();
    } else {
      this.#hidden = setTimeout(() => {
        if (!this.#busy()) this.#abort?.abort();
      }, HIDDEN_MS);
    }
  }
}
