// A recording somebody gives: a file, or what the microphone hears; it can be heard before it is sent.

import { element } from "./dom.js";
import { number, t } from "./i18n.js";
import { SAMPLE_RATE } from "./player.js";

const MOST_BYTES = 10 * 1024 * 1024; // what the server takes in one form
const AS_IT_IS = { echoCancellation: false, noiseSuppression: false, autoGainControl: false }; // they change the voice
const TICK_MS = 200;

/** Dispatches `change` when there is another recording, or none. */
export class Sample extends EventTarget {
  node;
  /** What is to be sent; null: nothing yet.
   * @type {File | null} */
  file = null;
  #length;
  #player;
  #samples = null; // int16, 24 kHz; null where the browser cannot read the file
  #recorder = null;
  #listening = false; // this one's is what the player plays
  #said = element("p", { class: "hint", role: "status" });
  #chooser = element("input", { type: "file", accept: "audio/*,video/webm,video/mp4", hidden: true, onchange: () => this.#choose() });
  #record = element("button", { type: "button", class: "quiet", onclick: () => this.#toggleRecording() });
  #hear = element("button", { type: "button", class: "quiet", hidden: true, onclick: () => this.#toggleHearing() });

  /** `label` names it; `length` is `{shortest, longest}` in seconds; `player` plays it. */
  constructor(label, length, player) {
    super();
    this.#length = length;
    this.#player = player;
    player.addEventListener("change", () => this.#show());
    player.addEventListener("begin", () => (this.#listening = false));
    const choose = element("button", { type: "button", class: "quiet", onclick: () => this.#chooser.click() }, t("sample.choose"));
    this.node = element("div", { class: "sample", role: "group", "aria-label": label }, element("div", { class: "row" }, choose, this.#record, this.#hear, this.#chooser), this.#said);
    this.#record.hidden = !navigator.mediaDevices || !globalThis.MediaRecorder;
    this.#said.textContent = this.#record.hidden ? t("sample.no_microphone") : "";
    this.#show();
  }

  /** Break off what is being recorded or heard. */
  cease() {
    if (this.#listening) this.#player.pause();
    this.#recorder?.stop();
  }

  focus() {
    this.node.querySelector("button").focus();
  }

  async #choose() {
    const [file] = this.#chooser.files;
    this.#chooser.value = "";
    if (file) await this.#take(file);
  }

  async #toggleRecording() {
    if (this.#recorder) this.#recorder.stop();
    else await this.#recordNow();
  }

  async #recordNow() {
    this.cease();
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: AS_IT_IS });
    } catch {
      this.#said.textContent = t("sample.refused");
      return;
    }
    const recorder = new MediaRecorder(stream);
    const pieces = [];
    const begun = performance.now();
    const tick = setInterval(() => {
      const seconds = (performance.now() - begun) / 1000;
      this.#said.textContent = t("sample.recording", { time: t("unit.seconds", { n: Math.floor(seconds) }) });
      if (seconds >= this.#length.longest) recorder.stop();
    }, TICK_MS);
    recorder.addEventListener("dataavailable", ({ data }) => pieces.push(data));
    recorder.addEventListener("stop", () => {
      clearInterval(tick);
      for (const track of stream.getTracks()) track.stop();
      this.#recorder = null;
      this.#take(new File(pieces, t("sample.microphone"), { type: recorder.mimeType }));
    });
    this.#recorder = recorder;
    recorder.start();
    this.#show();
  }

  /** The browser looks first; what it cannot read the server may. */
  async #take(file) {
    this.cease();
    this.file = null;
    this.#samples = await decoded(file);
    const seconds = this.#samples && this.#samples.length / SAMPLE_RATE;
    const wrong = file.size > MOST_BYTES ? "too_large" : seconds !== null && seconds < this.#length.shortest ? "too_short" : null;
    const time = seconds === null ? null : t("unit.seconds", { n: number(seconds, 1) });
    if (wrong) this.#said.textContent = t(`sample.${wrong}`, { name: file.name, time, shortest: this.#length.shortest });
    else {
      this.file = file;
      this.#said.textContent = [file.name, time].filter(Boolean).join(", ");
    }
    this.#show();
    this.dispatchEvent(new Event("change"));
  }

  #toggleHearing() {
    if (this.#listening && this.#player.playing) {
      this.#player.pause();
      return;
    }
    this.#player.load(this.#samples);
    this.#listening = true;
    this.#player.play();
  }

  #show() {
    this.#record.textContent = t(this.#recorder ? "sample.stop" : "sample.record");
    this.#hear.hidden = !this.#samples || this.#recorder !== null;
    this.#hear.textContent = t(this.#listening && this.#player.playing ? "sample.hush" : "sample.hear");
  }
}

/** The sound in a file, int16 at 24 kHz; null where this browser finds none. */
async function decoded(file) {
  if (file.size > MOST_BYTES) return null;
  try {
    const sound = await new OfflineAudioContext(1, 1, SAMPLE_RATE).decodeAudioData(await file.arrayBuffer());
    return Int16Array.from(sound.getChannelData(0), (level) => Math.max(-1, Math.min(1, level)) * 32_767);
  } catch {
    return null;
  }
}
