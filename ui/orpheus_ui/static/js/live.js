// Live: what is typed or pasted is spoken while it is written, over a socket.

import { currentKey } from "./access.js";
import { byId } from "./dom.js";
import { LiveLine } from "./live_line.js";
import { explain } from "./notices.js";
import { SAMPLE_RATE } from "./player.js";

/** Dispatches `change` when it is switched on or off. */
export class Live extends EventTarget {
  #parts;
  #line = null;
  #utterance = null;
  #seen = ""; // the text as it was when it was last looked at
  #held = null; // `{text, at}`, written while the utterance before still sounds

  /** `parts` are the page's catalog, composer, listening, segments, events, request, keep and onSpoken, as for Speaking. */
  constructor(parts) {
    super();
    this.#parts = parts;
    byId("live").addEventListener("change", () => this.#switch());
    parts.composer.addEventListener("change", () => this.on && this.#onText());
    parts.listening.player.addEventListener("change", () => this.#held && this.#release());
    parts.events.addEventListener("speech.segment", () => this.#follow());
  }

  get on() {
    return byId("live").checked;
  }

  /** Whether there is an utterance whose end has not come. */
  get busy() {
    return this.#utterance !== null;
  }

  /** What was written is all there is: speak the rest of it. */
  finish() {
    if (!this.#utterance || this.#utterance.written) return;
    this.#utterance.written = true;
    this.#line.finish();
  }

  /** The listener cuts in; what they had heard is told by the server. */
  interrupt() {
    const utterance = this.#utterance;
    if (!utterance) return;
    const { player } = this.#parts.listening;
    const played = utterance.sound ? player.position : 0;
    utterance.cut = utterance.written = true;
    this.#held = null;
    player.pause();
    this.#line.interrupt(played * 1000);
  }

  #switch() {
    byId("live-note").hidden = !this.on;
    this.#seen = this.#parts.composer.text;
    if (!this.on) this.finish();
    this.dispatchEvent(new Event("change"));
  }

  /** What stands behind all that was sent is new; what is changed within it has been said. */
  #onText() {
    const { text } = this.#parts.composer;
    const more = text.startsWith(this.#seen) ? text.slice(this.#seen.length) : "";
    if (more && this.#parts.catalog.offer) this.#say(more, text.length - more.length);
    this.#seen = text;
  }

  #say(text, at) {
    if (this.#utterance && !this.#utterance.written) {
      this.#utterance.speech.text += text;
      this.#line.say(text);
    } else {
      this.#held = { text: (this.#held?.text ?? "") + text, at: this.#held?.at ?? at };
      this.#release();
    }
  }

  /** Begin with what was held, unless something of before still sounds. */
  #release() {
    const { player, speech } = this.#parts.listening;
    const { text, at } = this.#held;
    if (this.#utterance || (player.playing && speech?.live) || !text.trim()) return;
    this.#held = null;
    this.#begin(at);
    this.#say(text, at);
  }

  #begin(at) {
    const { catalog, keep, request, listening } = this.#parts;
    const { text: _, ...wanted } = request();
    const { language, name: called } = catalog.voice(wanted.voice);
    const speech = { text: "", at, live: true, language, voice: wanted.voice, called, wanted, created: Date.now() };
    const utterance = { id: null, speech, sound: null, words: [], written: false, cut: false, samples: () => utterance.sound?.samples ?? new Int16Array(0) };
    utterance.keeping = keep(() => made(utterance, "unfinished"), utterance.samples);
    this.#utterance = utterance;
    listening.phase("live");
    this.#line ??= this.#open();
    this.#line.begin(wanted);
  }

  #open() {
    return new LiveLine(currentKey(), {
      started: (id) => this.#utterance && (this.#utterance.id = id),
      audio: (samples) => this.#hear(samples),
      words: (words) => {
        this.#utterance?.words.push(...words.map(({ start, end, span }) => ({ start, end, span })));
        this.#follow();
      },
      done: () => this.#end(this.#utterance?.cut ? "stopped" : null),
      interrupted: (answer) => this.#parts.listening.cut(answer.text_spoken),
      failed: (error) => {
        this.#line = null;
        if (this.#utterance) this.#end("broken_off");
        explain(error);
      },
    });
  }

  #hear(samples) {
    const utterance = this.#utterance;
    if (!utterance || utterance.cut) return; // on its way when the listener cut in
    const { listening } = this.#parts;
    if (!utterance.sound) {
      utterance.sound = listening.player.begin(0, { live: true });
      listening.begin(utterance.speech, 0);
      listening.facts = { id: utterance.id };
      listening.phase("live");
      this.#follow();
    }
    utterance.sound.push(samples);
  }

  /** Sentences are known when they begin, words when a sentence has ended. */
  #follow() {
    const { listening, segments } = this.#parts;
    if (!this.#utterance?.sound) return;
    const { id, speech, words } = this.#utterance;
    listening.extend(speech.text, segments.of(id), words);
  }

  #end(partial) {
    const utterance = this.#utterance;
    const { listening, onSpoken } = this.#parts;
    this.#utterance = null;
    if (!utterance) return;
    if (!partial) listening.phase(null);
    if (!utterance.sound) {
      utterance.keeping.drop();
      return;
    }
    utterance.sound.finish();
    onSpoken(made(utterance, partial), utterance.samples(), utterance.keeping);
    if (this.#held) this.#release();
  }
}

/** An utterance as the history keeps it. */
function made({ speech, samples, words }, partial) {
  const { at: _, live: __, ...kept } = speech;
  const facts = { take: null, audioSeconds: samples().length / SAMPLE_RATE };
  return { ...kept, text: speech.text.trim(), wanted: { ...kept.wanted, text: speech.text.trim() }, model: kept.wanted.model, facts, segments: [], words: trimmed(speech.text, words), partial };
}

/** Places in a text whose beginning is cut off: its white space is one code point each. */
function trimmed(text, words) {
  const cut = text.length - text.trimStart().length;
  return words.map(({ span: [from, to], ...times }) => ({ ...times, span: [from - cut, to - cut] }));
}
