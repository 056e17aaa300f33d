// Playback with Web Audio: sounds from the first samples on, while more arrive, and can be sought afterwards.

import { Recording } from "./recording.js";
import { LOOKAHEAD, Stretch } from "./stretch.js";

export const SAMPLE_RATE = 24_000;

const AHEAD_SECONDS = 1.5; // scheduled before it is due, so that a busy page does not break the sound
const PIECE_SECONDS = 0.5;
const START_SECONDS = 0.015; // from now to the first sample
const REFILL_SECONDS = 0.3; // what must be there to go on after the stream ran dry; twice as much each time
const LONGEST_REFILL_SECONDS = 5;

/**
 * Dispatches `begin` when something else takes the place of what was there, `start` when it begins or goes on to
 * play, `sound` when its first sample is scheduled, `change` when it starts, pauses, ends, runs dry or gets more, `dry`
 * when it has to wait for more in the midst of the sound, and `ended`.
 */
export class Player extends EventTarget {
  #context = null;
  #gain = null;
  #volume = 1;
  #rate = 1;
  #stretch = null;
  #recording = new Recording(new Int16Array(0));
  #complete = false;
  #incoming = null;
  #scheduled = 0; // samples handed to the audio clock
  #due = 0; // when the next of them is to sound, on that clock
  #pieces = [];
  #playing = false;
  #dry = false;
  #refill = REFILL_SECONDS;
  #at = 0; // where it stands while it does not play

  /** Prepare the sound card; browsers want a gesture of the person's first. */
  warm() {
    this.#context ??= new AudioContext({ sampleRate: SAMPLE_RATE, latencyHint: "interactive" });
    if (!this.#gain) {
      this.#gain = this.#context.createGain();
      this.#gain.gain.value = this.#volume;
      this.#gain.connect(this.#context.destination);
    }
    if (this.#context.state === "suspended") this.#context.resume();
  }

  /** How loud, from 0 to 1. */
  set volume(volume) {
    this.#volume = volume;
    if (this.#gain) this.#gain.gain.value = volume;
  }

  /** How fast, at the same pitch; 1 is as it was spoken. */
  set rate(rate) {
    const { position } = this;
    this.#rate = rate;
    if (this.#length) this.seek(position);
  }

  /**
   * Start something new, of which nothing is there yet; it sounds with the first samples, or once there are
   * `cushion` seconds of it, where gaps are to be feared. What is `live` has pauses, and goes on with whatever comes.
   *
   * Returns `{push(samples), finish(), samples}` for int16 at 24 kHz; once something else has begun it is only kept.
   */
  begin(cushion = 0, { live = false } = {}) {
    this.#silence();
    this.warm();
    const recording = new Recording();
    this.#recording = recording;
    this.#complete = false;
    this.#at = 0;
    this.#scheduled = 0;
    this.#playing = true;
    this.#dry = cushion > 0;
    this.#refill = live ? 0 : cushion || REFILL_SECONDS;
    const incoming = {
      push: (samples) => {
        recording.push(samples);
        if (this.#incoming === incoming) this.#pushed();
      },
      finish: () => this.#incoming === incoming && this.#finish(),
      get samples() {
        return recording.samples;
      },
    };
    this.#incoming = incoming;
    this.dispatchEvent(new Event("begin"));
    this.dispatchEvent(new Event("start"));
    this.#changed();
    return incoming;
  }

  #pushed() {
    this.#pump();
    this.#changed();
  }

  #finish() {
    this.#complete = true;
    this.#pump();
    this.#endIfOver();
    this.#changed();
  }

  /** Put something in place that is there as a whole, silent until `play`. */
  load(samples) {
    this.#silence();
    this.#incoming = null;
    this.#recording = new Recording(samples);
    this.#complete = true;
    this.#playing = false;
    this.#at = 0;
    this.dispatchEvent(new Event("begin"));
    this.#changed();
  }

  /** Go on where it stands; from the start where it has ended. */
  play() {
    if (this.#playing || this.#length === 0) return;
    this.warm();
    if (this.#at >= this.#length) this.#at = 0;
    this.#playing = true;
    this.dispatchEvent(new Event("start"));
    this.#scheduled = this.#at;
    this.#dry = false;
    this.#pump();
    this.#changed();
  }

  pause() {
    if (!this.#playing) return;
    this.#at = Math.round(this.position * SAMPLE_RATE);
    this.#silence();
    this.#playing = false;
    this.#changed();
  }

  /** Go to a second of what is there. */
  seek(seconds) {
    const to = Math.round(Math.min(Math.max(seconds, 0), this.duration) * SAMPLE_RATE);
    const playing = this.#playing;
    this.#silence();
    this.#at = to;
    this.#scheduled = to;
    this.#playing = playing;
    this.#dry = false;
    this.#pump();
    this.#endIfOver();
    this.#changed();
  }

  get playing() {
    return this.#playing;
  }

  /** Whether it waits for more, in the midst of the sound. */
  get dry() {
    return this.#playing && this.#dry;
  }

  get complete() {
    return this.#complete;
  }

  /** Seconds that are there. */
  get duration() {
    return this.#length / SAMPLE_RATE;
  }

  /** The second that sounds. */
  get position() {
    if (!this.#playing) return this.#at / SAMPLE_RATE;
    const now = this.#context.currentTime;
    while (this.#pieces.length > 1 && this.#pieces[1].due <= now) this.#pieces.shift();
    const [piece] = this.#pieces;
    if (!piece) return this.#at / SAMPLE_RATE;
    const share = Math.min(Math.max((now - piece.due) / piece.lasts, 0), 1);
    return (piece.from + share * piece.length) / SAMPLE_RATE;
  }

  /** What is there, int16. */
  get samples() {
    return this.#recording.samples;
  }

  get #length() {
    return this.#recording.length;
  }

  #pump() {
    if (!this.#playing) return;
    const context = this.#context;
    for (;;) {
      const held = this.#rate === 1 || this.#complete ? 0 : LOOKAHEAD;
      const left = Math.max(0, this.#length - this.#scheduled - held);
      const late = this.#due < context.currentTime + START_SECONDS;
      if (left === 0) {
        if (late && this.#scheduled > 0 && !this.#complete) this.#ranDry();
        return;
      }
      if (this.#dry && !this.#complete && left < this.#refill * SAMPLE_RATE) return;
      if (this.#due > context.currentTime + AHEAD_SECONDS) return;
      this.#dry = false;
      if (late) this.#due = context.currentTime + START_SECONDS;
      this.#schedule(Math.min(left, PIECE_SECONDS * SAMPLE_RATE));
    }
  }

  #ranDry() {
    if (this.#dry) return;
    this.#dry = true;
    this.#refill = Math.min(this.#refill * 2, LONGEST_REFILL_SECONDS);
    this.dispatchEvent(new Event("dry"));
    this.#changed();
  }

  #schedule(length) {
    const context = this.#context;
    const sound = this.#sound(length);
    const buffer = context.createBuffer(1, sound.length, SAMPLE_RATE);
    buffer.copyToChannel(sound, 0);
    const source = context.createBufferSource();
    source.buffer = buffer;
    source.connect(this.#gain);
    source.onended = () => {
      this.#pump();
      this.#endIfOver();
    };
    source.start(this.#due);
    if (this.#scheduled === 0) this.dispatchEvent(new CustomEvent("sound", { detail: this.#due - context.currentTime }));
    this.#pieces.push({ source, due: this.#due, from: this.#scheduled, length, lasts: buffer.duration });
    this.#scheduled += length;
    this.#due += buffer.duration;
  }

  /** The next samples as the sound card takes them. */
  #sound(length) {
    const { samples } = this.#recording;
    if (this.#rate !== 1) {
      this.#stretch ??= new Stretch(this.#rate);
      return this.#stretch.next(samples, this.#scheduled, length);
    }
    return Float32Array.from(samples.subarray(this.#scheduled, this.#scheduled + length), (sample) => sample / 32_768);
  }

  #endIfOver() {
    if (!this.#playing || !this.#complete || this.#scheduled < this.#length) return;
    if (this.#pieces.length && this.#context.currentTime < this.#due - 0.005) return;
    this.#at = this.#length;
    this.#silence();
    this.#playing = false;
    this.#changed();
    this.dispatchEvent(new Event("ended"));
  }

  #silence() {
    for (const { source } of this.#pieces) {
      source.onended = null;
      source.stop();
      source.disconnect();
    }
    this.#pieces = [];
    this.#due = 0;
    this.#stretch = null;
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}
