// The picture of a sound: bars that grow as it arrives, and a slider to seek in it.

import { tell } from "./dom.js";
import { SAMPLE_RATE } from "./player.js";

const BUCKETS_PER_SECOND = 50;
const BAR = 3; // CSS pixels
const GAP = 2;
const STEP_SECONDS = 5;
const CLOSEST_MARKS = 12; // CSS pixels on average; closer ones would be a line

/** Draws the samples of a player. */
export class Waveform {
  #canvas;
  #slider;
  #player;
  #describe;
  #peaks = [];
  #measured = 0;
  #expected = 0;
  #marks = [];
  #colours = null;
  #painted = null;

  constructor(slider, canvas, player, describe) {
    this.#canvas = canvas;
    this.#slider = slider;
    this.#player = player;
    this.#describe = describe;
    new ResizeObserver(() => this.draw()).observe(slider);
    const recolour = () => {
      this.#colours = this.#painted = null;
      this.draw();
    };
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
    new MutationObserver(recolour).observe(document.documentElement, { attributeFilter: ["data-theme"] });
    player.addEventListener("begin", () => {
      this.#peaks = [];
      this.#measured = 0;
      this.#marks = [];
      this.#painted = null;
    });
    slider.addEventListener("pointerdown", (event) => this.#onPointer(event));
    slider.addEventListener("pointermove", (event) => event.buttons === 1 && this.#onPointer(event));
    slider.addEventListener("keydown", (event) => this.#onKey(event));
  }

  /** A guess at the seconds to come, which set the scale until they are known. */
  set expected(seconds) {
    this.#expected = seconds;
  }

  /** Seconds at which sentences begin, shown as small marks. */
  set marks(seconds) {
    this.#marks = seconds;
    this.#painted = null;
    this.draw();
  }

  /** Bring the picture up to the player. */
  draw() {
    this.#measure();
    const { width, height } = this.#canvas.getBoundingClientRect();
    const ratio = devicePixelRatio || 1;
    const scale = this.#scale();
    const bars = Math.floor(width / (BAR + GAP));
    const played = Math.ceil((this.#player.position / scale) * bars);
    this.#tell();
    const picture = [width, height, ratio, scale, played, this.#peaks.length].join();
    if (picture === this.#painted) return;
    this.#painted = picture;
    if (this.#canvas.width !== Math.round(width * ratio) || this.#canvas.height !== Math.round(height * ratio)) {
      this.#canvas.width = Math.round(width * ratio);
      this.#canvas.height = Math.round(height * ratio);
    }
    const context = this.#canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    this.#colours ??= colours(this.#canvas);
    for (let bar = 0; bar < bars; bar += 1) {
      const from = (bar / bars) * scale * BUCKETS_PER_SECOND;
      const to = ((bar + 1) / bars) * scale * BUCKETS_PER_SECOND;
      const known = from < this.#peaks.length;
      const tall = known ? Math.max(2, loudest(this.#peaks, from, to) * (height - 14)) : 2;
      context.fillStyle = known ? (bar < played ? this.#colours.played : this.#colours.waiting) : this.#colours.empty;
      context.beginPath();
      context.roundRect(bar * (BAR + GAP), (height - tall) / 2, BAR, tall, BAR / 2);
      context.fill();
    }
    context.fillStyle = this.#colours.mark;
    const marks = this.#marks.length * CLOSEST_MARKS < width ? this.#marks.slice(1) : [];
    for (const second of marks) {
      context.beginPath();
      context.arc((second / scale) * width, height - 3, 1.5, 0, 2 * Math.PI);
      context.fill();
    }
  }

  #scale() {
    const { duration, complete } = this.#player;
    return (complete ? duration : Math.max(duration, this.#expected)) || 1;
  }

  #measure() {
    const samples = this.#player.samples;
    const size = SAMPLE_RATE / BUCKETS_PER_SECOND;
    const until = this.#player.complete ? samples.length : samples.length - (samples.length % size);
    for (; this.#measured < until; this.#measured += size) {
      let peak = 0;
      const end = Math.min(this.#measured + size, samples.length);
      for (let i = this.#measured; i < end; i += 4) peak = Math.max(peak, Math.abs(samples[i]));
      this.#peaks.push(Math.min(1, (peak / 32_768) ** 0.7 * 1.15));
    }
  }

  #tell() {
    const { position, duration } = this.#player;
    tell(this.#slider, "aria-valuemin", 0);
    tell(this.#slider, "aria-valuemax", Math.round(duration));
    tell(this.#slider, "aria-valuenow", Math.min(Math.round(position), Math.round(duration)));
    tell(this.#slider, "aria-valuetext", this.#describe(position, duration));
    tell(this.#slider, "aria-disabled", duration === 0);
  }

  #onPointer(event) {
    const { left, width } = this.#canvas.getBoundingClientRect();
    this.#player.seek(((event.clientX - left) / width) * this.#scale());
  }

  #onKey(event) {
    const { position, duration } = this.#player;
    const to = {
      ArrowRight: position + STEP_SECONDS, ArrowUp: position + STEP_SECONDS,
      ArrowLeft: position - STEP_SECONDS, ArrowDown: position - STEP_SECONDS,
      PageUp: position + 2 * STEP_SECONDS, PageDown: position - 2 * STEP_SECONDS, Home: 0, End: duration,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.#player.seek(to);
  }
}

function loudest(peaks, from, to) {
  let most = 0;
  for (let i = Math.floor(from); i < Math.min(Math.max(to, from + 1), peaks.length); i += 1) most = Math.max(most, peaks[i]);
  return most;
}

function colours(canvas) {
  const style = getComputedStyle(canvas);
  const of = (name) => style.getPropertyValue(name).trim();
  return { played: of("--accent"), waiting: of("--wave"), empty: of("--line"), mark: of("--faint") };
}
