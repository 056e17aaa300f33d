// A speech written into the history while it is made: whoever leaves the page in the midst finds what had come.

import { outline } from "./outline.js";

const STEP_MS = 250; // what is lost at most, with the time that a step takes, when the tab dies
const IDLE_SHARE = 20; // a step that takes long, as on a slow disk, is followed by so many times its time
/** @type {[string, () => EventTarget | undefined][]} */
const LEAVING = [
  ["pagehide", () => globalThis],
  ["visibilitychange", () => globalThis.document],
  ["freeze", () => globalThis.document],
];

/** Writes a speech down in steps, each with the samples that are new. */
export class Keeping {
  #history;
  #id;
  #made;
  #samples;
  #written = 0;
  #writing = null;
  #timer;
  #over = false;
  #leave = () => this.#step();

  /** `made()` is what the history is to know of the speech by now; `samples()` are all that have come, int16. */
  constructor(history, made, samples) {
    this.#history = history;
    this.#id = history.begin();
    this.#made = made;
    this.#samples = samples;
    this.#wait(STEP_MS);
    for (const [event, target] of LEAVING) target()?.addEventListener?.(event, this.#leave);
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

  #wait(milliseconds) {
    clearTimeout(this.#timer);
    if (!this.#over) this.#timer = setTimeout(() => this.#step(), milliseconds);
  }

  /** One step at a time; one that fails is part of the next, and the last one tells. */
  #step() {
    if (this.#writing) return;
    const samples = this.#samples();
    if (samples.length === this.#written) {
      this.#wait(STEP_MS);
      return;
    }
    const begun = performance.now();
    this.#writing = this.#write(samples).catch(() => {}).finally(() => {
      this.#writing = null;
      this.#wait(Math.max(STEP_MS, IDLE_SHARE * (performance.now() - begun)));
    });
  }

  async #write(samples) {
    const at = this.#written;
    const speech = { ...this.#made(), outline: outline(samples) };
    await this.#history.write(this.#id, speech, samples.subarray(at), at);
    this.#written = samples.length;
  }

  #cease() {
    this.#over = true;
    clearTimeout(this.#timer);
    for (const [event, target] of LEAVING) target()?.removeEventListener?.(event, this.#leave);
  }
}
