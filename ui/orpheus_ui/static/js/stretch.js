// Speech faster or slower at the same pitch: WSOLA (Verhelst and Roelands, 1993). Pieces of the sound are overlapped
// where they are most alike.

const HOP = 512; // samples, 21 ms; a piece is twice as long
const REACH = 256; // how far from its place a piece may be taken
const LOOK_STEP = 4; // likeness is judged by every fourth sample

/** What must be there behind the samples that are stretched. */
export const LOOKAHEAD = 2 * HOP + REACH;

/** Stretches a recording part by part, each beginning where the one before ended. */
export class Stretch {
  #rate;
  #continues = null; // where the sound would go on after the last piece

  constructor(rate) {
    this.#rate = rate;
  }

  /** The `length` samples from `from` on as a Float32Array, about `length / rate` long. */
  next(samples, from, length) {
    const hops = Math.max(1, Math.round(length / (HOP * this.#rate)));
    const out = new Float32Array(hops * HOP);
    for (let hop = 0; hop < hops; hop += 1) {
      const place = Math.round(from + hop * HOP * this.#rate);
      const start = this.#continues === null ? place : alike(samples, this.#continues, place);
      const before = this.#continues ?? start;
      for (let i = 0; i < HOP; i += 1) {
        const share = i / HOP;
        out[hop * HOP + i] = ((1 - share) * at(samples, before + i) + share * at(samples, start + i)) / 32_768;
      }
      this.#continues = start + HOP;
    }
    return out;
  }
}

const at = (samples, place) => samples[place] ?? 0;

/** Where around `place` the sound is most like that from `wanted` on. */
function alike(samples, wanted, place) {
  let [best, found] = [-Infinity, place];
  for (let start = Math.max(0, place - REACH); start <= place + REACH; start += LOOK_STEP) {
    let [both, own] = [0, 1];
    for (let i = 0; i < HOP; i += LOOK_STEP) {
      const value = at(samples, start + i);
      both += at(samples, wanted + i) * value;
      own += value * value;
    }
    const likeness = both / Math.sqrt(own);
    if (likeness > best) [best, found] = [likeness, start];
  }
  return found;
}
