// The bytes of a speech on their way to samples: PCM as it is, or Opus, decoded as it comes.

import { OggOpus } from "./ogg.js";

const OPUS_RATE = 48_000; // a decoder's, whatever went in: twice ours
const PACKET_MICROSECONDS = 20_000;

/** Whether this browser decodes packet by packet; it does so on secure addresses only. */
export const decodes = () => "AudioDecoder" in globalThis;

/** int16, little-endian, at 24 kHz; a piece may end within a sample. `push(samples)` is called as they come. */
export class ArrivingPCM {
  format = "pcm";
  #push;
  #odd = new Uint8Array(0);

  constructor(push) {
    this.#push = push;
  }

  take(piece) {
    const bytes = new Uint8Array(this.#odd.length + piece.length);
    bytes.set(this.#odd);
    bytes.set(piece, this.#odd.length);
    const even = bytes.length & ~1;
    this.#odd = bytes.slice(even);
    if (even) this.#push(new Int16Array(bytes.buffer, 0, even / 2));
  }

  async end() {}
}

/** Opus in Ogg, of which the same samples are heard as of PCM: what is in front and behind is cut off. */
export class ArrivingOpus {
  format = "opus";
  #ogg = new OggOpus();
  #push;
  #decoder;
  #failed = null;
  #fed = 0;
  #decoded = 0; // samples at 48 kHz that have come out, those in front included

  constructor(push) {
    this.#push = push;
    this.#decoder = new AudioDecoder({ output: (data) => this.#output(data), error: (error) => (this.#failed = error) });
    this.#decoder.configure({ codec: "opus", sampleRate: OPUS_RATE, numberOfChannels: 1 });
  }

  take(piece) {
    for (const data of this.#ogg.push(piece)) {
      if (this.#failed) throw this.#failed;
      this.#decoder.decode(new EncodedAudioChunk({ type: "key", timestamp: this.#fed * PACKET_MICROSECONDS, data }));
      this.#fed += 1;
    }
  }

  async end() {
    if (this.#failed) throw this.#failed;
    await this.#decoder.flush();
    this.#decoder.close();
  }

  /** Every other sample: nothing is above 12 kHz that could fold down. */
  #output(data) {
    const all = new Float32Array(data.numberOfFrames);
    data.copyTo(all, { planeIndex: 0, format: "f32-planar" });
    data.close();
    const skip = Math.max(0, this.#ogg.preSkip - this.#decoded);
    const end = this.#ogg.total === null ? all.length : Math.min(all.length, this.#ogg.preSkip + this.#ogg.total - this.#decoded);
    const first = skip + ((this.#decoded + skip - this.#ogg.preSkip) & 1);
    this.#decoded += all.length;
    if (first >= end) return;
    const samples = new Int16Array(Math.ceil((end - first) / 2));
    for (let i = 0; i < samples.length; i += 1) samples[i] = Math.max(-1, Math.min(1, all[first + 2 * i])) * 32_767;
    this.#push(samples);
  }
}
