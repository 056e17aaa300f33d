// Samples that only ever get more.

const FIRST_SAMPLES = 240_000;

/** Int16 samples, gathered piece by piece. */
export class Recording {
  #room;
  #length = 0;

  /** `whole`: samples that are there from the start. */
  constructor(whole = null) {
    this.#room = whole ?? new Int16Array(FIRST_SAMPLES);
    this.#length = whole?.length ?? 0;
  }

  push(samples) {
    const length = this.#length + samples.length;
    if (length > this.#room.length) {
      const larger = new Int16Array(Math.max(this.#room.length * 2, length));
      larger.set(this.samples);
      this.#room = larger;
    }
    this.#room.set(samples, this.#length);
    this.#length = length;
  }

  get length() {
    return this.#length;
  }

  /** What is there, as a view. */
  get samples() {
    return this.#room.subarray(0, this.#length);
  }
}
