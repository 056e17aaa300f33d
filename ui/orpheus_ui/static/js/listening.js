// The place where a speech is heard and seen: play, seek, times, and the sentence that sounds.

import { byId, element, icon, say, tell } from "./dom.js";
import { save, saveCaptions } from "./download.js";
import { rangeAt, Reading, wordAt, wordsIn } from "./follow.js";
import { brief, clock, duration, number, onLanguage, t } from "./i18n.js";
import { hadGap } from "./line.js";
import { explain } from "./notices.js";
import { Player } from "./player.js";
import { recall, remember } from "./remembered.js";
import { Waveform } from "./waveform.js";

const CAPTIONS = "srt";
const ENDING = 40; // characters
const FRAME_MS = 25; // until the next picture is asked for: some thirty a second, which do for words and bars
const RATES = [0.5, 0.75, 1, 1.25, 1.5, 2];

/** Shows one speech at a time: `{text, language, voice, created, facts, segments}`. */
export class Listening {
  player = new Player();
  #waveform;
  #composer;
  #format;
  #speech = null;
  #reading = null;
  #ranges = [];
  #words = [];
  #next = null;
  #frame = null;
  #phase = null;

  /** `format()` is the format that downloads are to have. */
  constructor(composer, format) {
    this.#composer = composer;
    this.#format = format;
    const describe = (at, total) => t("listening.position", { at: clock(at), total: clock(total) });
    this.#waveform = new Waveform(byId("wave"), byId("canvas"), this.player, describe);
    this.player.addEventListener("change", () => this.#draw());
    this.player.addEventListener("start", () => ["cut", "stopped"].includes(this.#phase?.name) && this.phase(null)); // it goes on
    this.player.addEventListener("dry", () => this.#speech?.live || hadGap());
    byId("play").addEventListener("click", () => (this.player.playing ? this.player.pause() : this.player.play()));
    byId("download").addEventListener("click", () => this.#keep(() => save(this.#speech, this.player.samples, this.#format())));
    byId("captions").addEventListener("click", () => this.#keep(() => saveCaptions(this.#speech, CAPTIONS)));
    this.#offerSound();
    onLanguage(() => this.relabel());
  }

  /** What is listened to, or null. */
  get speech() {
    return this.#speech;
  }

  /** Volume and pace of listening, kept from before. */
  #offerSound() {
    const [volume, rate] = [byId("volume"), byId("rate")];
    volume.value = recall("volume", 1);
    rate.replaceChildren(...RATES.map((each) => element("option", { value: each, selected: each === recall("rate", 1) }, `${each}×`)));
    const set = () => {
      this.player.volume = Number(volume.value);
      volume.style.setProperty("--filled", `${volume.value * 100}%`);
    };
    set();
    this.player.rate = Number(rate.value);
    volume.addEventListener("input", () => {
      remember("volume", Number(volume.value));
      set();
    });
    rate.addEventListener("change", () => {
      remember("rate", Number(rate.value));
      this.player.rate = Number(rate.value);
    });
  }

  /** A speech begins; `expected` seconds are a guess at how long it will be. */
  begin(speech, expected) {
    this.#speech = { ...speech, facts: null, segments: [], words: [] };
    this.#reading = new Reading(speech.text, speech.language);
    this.#ranges = [];
    this.#words = [];
    this.#waveform.expected = expected;
    this.relabel();
  }

  /** A speech of the history, complete; `samples` are int16. */
  show(speech, samples) {
    this.#speech = speech;
    this.#reading = new Reading(speech.text, speech.language);
    this.player.load(samples);
    this.follow(speech.segments, speech.words);
    this.phase(null);
    this.relabel();
  }

  /** What is known of the speech's making by now. */
  set facts(facts) {
    this.#speech = { ...this.#speech, facts };
    this.#stats();
  }

  /** Its segments, `[{start, end, seconds}]`, and words, `[{start, end, span}]`, as far as they are known. */
  follow(segments, words = []) {
    this.#speech = { ...this.#speech, segments: [...segments], words };
    if (words.length !== this.#words.length) this.#words = wordsIn(this.#speech.text, words);
    this.#ranges = this.#reading.follow(segments, this.player.samples);
    this.#waveform.marks = this.#ranges.map((range) => range.seconds);
  }

  /** The text of a live speech so far, and its segments and words, as far as they are known. */
  extend(text, segments, words) {
    this.#speech = { ...this.#speech, text };
    this.#reading.text = text;
    this.follow(segments, [...words]);
  }

  /** The listener cut in after `spoken`, a text whose last words are told. */
  cut(spoken) {
    const words = ending(spoken.trim());
    this.phase(words ? "cut" : "stopped", () => ({ words }));
  }

  /** Say what goes on, `phase.…` of the words, with `values()` in the page's language; null for nothing. */
  phase(name, values = () => ({})) {
    this.#phase = name && { name, values };
    this.#tellPhase();
  }

  #tellPhase() {
    const { name, values } = this.#phase ?? {};
    const waits = name === "speaking" && this.player.dry;
    const words = name ? t(waits ? "phase.buffering" : `phase.${name}`, values()) : "";
    say(byId("phase"), words);
  }

  /** The model is being loaded; `last` seconds is how long that took before, or null. */
  loading(last) {
    const bar = element("progress", last ? { max: last, value: 0, "aria-label": t("phase.progress") } : { "aria-label": t("phase.progress") });
    const passed = element("span", { "aria-hidden": "true" });
    const place = byId("loading");
    place.replaceChildren(bar, passed);
    place.hidden = false;
    const began = performance.now();
    const tick = () => {
      const seconds = (performance.now() - began) / 1000;
      if (last) bar.value = Math.min(seconds, last * 0.98);
      passed.textContent = duration(Math.floor(seconds));
    };
    tick();
    const timer = setInterval(tick, 500);
    return () => {
      clearInterval(timer);
      place.hidden = true;
    };
  }

  /** Put all words anew: the language or the format has changed. */
  relabel() {
    byId("download").replaceChildren(icon("download"), t("listening.download", { format: this.#format().toUpperCase() }));
    this.#tellPhase();
    this.#stats();
    this.#draw();
  }

  #draw() {
    clearTimeout(this.#next);
    cancelAnimationFrame(this.#frame);
    const { player } = this;
    const position = player.position;
    this.#waveform.draw();
    this.#tellPhase();
    byId("wave-empty").hidden = this.#speech !== null;
    say(byId("elapsed"), clock(position));
    say(byId("total"), brief(player.duration) ?? clock(player.duration));
    const button = byId("play");
    const name = player.playing && player.duration ? "pause" : "play";
    if (button.dataset.shows !== name) button.replaceChildren(icon(name));
    button.dataset.shows = name;
    tell(button, "aria-label", t(`listening.${name}`));
    button.disabled = player.duration === 0;
    byId("captions").hidden = !player.complete || !this.#speech?.words?.length;
    byId("download").disabled = player.duration === 0 || !player.complete;
    const sounds = this.#stands && player.playing && player.duration > 0;
    const word = sounds ? this.#there(wordAt(this.#words, position)) : null;
    this.#composer.mark(sounds ? (this.#there(rangeAt(this.#ranges, position)) ?? word) : null, word);
    if (player.playing) this.#next = setTimeout(() => (this.#frame = requestAnimationFrame(() => this.#draw())), FRAME_MS);
  }

  /** Whether the speech's text is in the box: all of it; of a live one, where it was written. */
  get #stands() {
    const { text, at, live } = this.#speech ?? {};
    return live ? this.#composer.text.startsWith(text, at) : text === this.#composer.text;
  }

  /** A place in the speech's text, in the box. */
  #there(range) {
    const at = this.#speech.at ?? 0;
    return range && at ? { ...range, start: range.start + at, end: range.end + at } : range;
  }

  #stats() {
    const facts = this.#speech?.facts;
    const shown = [];
    if (facts?.firstSoundSeconds != null) {
      shown.push(["stat.first_audio", t("unit.milliseconds", { n: number(facts.firstSoundSeconds * 1000) })]);
    }
    if (facts?.realTimeFactor) shown.push(["stat.real_time_factor", number(facts.realTimeFactor, facts.realTimeFactor < 0.1 ? 3 : 2)]);
    if (facts?.loadSeconds > 0.1) shown.push(["stat.load", duration(facts.loadSeconds)]);
    byId("stats").replaceChildren(
      ...shown.map(([key, value]) => element("div", {}, element("dt", {}, t(key)), element("dd", {}, value))),
    );
  }

  async #keep(work) {
    try {
      await work();
    } catch (error) {
      explain(error);
    }
  }
}

/** The last words of a text, a few dozen characters at the most. */
function ending(text) {
  if (text.length <= ENDING) return text;
  const end = text.slice(-ENDING);
  return `…${end.slice(end.search(/\s/) + 1)}`;
}
