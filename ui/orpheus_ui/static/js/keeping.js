// A speech written into the history while it is made: whoever leaves the page in the midst finds what had come.

import { outline } from "./outline.js";

const STEP_MS = 1_000;

/** Writes a speech down in steps, each with the samples that are new. */
export class Keeping {
  #history;
  #id;
  #made;
  #samples;
  #written = 0;
  #writing = null;
  #timer;
  #leave = () => this.#step();

  /** `made()` is what the history is to know of the speech by now; `samples()` are all that have come, int16. */
  constructor(history, made, samples) {
    this.#history = history;
    this.#id = history.begin();
    this.#made = made;
    this.#samples = samples;
    this.#timer = setInterval(() => this.#step(), STEP_MS);
    globalThis.addEventListener?.("pagehide", this.#leave);
  }

  /** The speech has ended, as `speech` says. Rejects where it cannot be kept. */
  async end(speech) {
    this.#cease();
    await this.#writing;
    const samples = this.#samples();
    await this.#history.finish(this.#id, { ...speech, outline: outline(samples) }, samples.subarray(this.#written), this.#written);
  }

  /** Nothing came of it. */
  drop() {
    this.#cease();
  }

  /** One step at a time; one that fails is part of the next, and the last one tells. */
  #step() {
    const samples = this.#samples();
    if (samples.length === this.#written || this.#writing) return;
    this.#writing = this.#write(samples).catch(() => {}).finally(() => (this.#writing = null));
  }

  async #write(samples) {
    const at = this.#written;
    const speech = { ...this.#made(), outline: outline(samples) };
    await this.#history.write(this.#id, speech, samples.subarray(at), at);
    this.#written = samples.length;
  }

  #cease() {
    clearInterval(this.#timer);
    globalThis.removeEventListener?.("pagehide", this.#leave);
  }
}
