// The button that speaks: from the text to the history, or to words about why not.

import { interrupt } from "./api.js";
import { byId, element, icon } from "./dom.js";
import { onLanguage, t } from "./i18n.js";
import { slowLine } from "./line.js";
import { shortTitle } from "./models.js";
import { clearNotice, explain, notice } from "./notices.js";
import { SAMPLE_RATE } from "./player.js";
import { BrokenOffError, speak } from "./speech.js";

const WIDE = /[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]/g; // a syllable or more each
const SECONDS_A_WIDE = 0.22;
const SECONDS_A_NARROW = 0.065;
const FOLLOW_MS = 100;
const HUNG_UP_MS = 200; // until the browser has let go of the stream, whose breaking off would look like a fault
const CUSHION_SECONDS = 1; // on a slow line

/** Speaks what `request()` gives, through `listening`; tells `onSpoken` of every speech, also of what there is of one that was stopped or broke off. */
export class Speaking {
  #abort = null;
  #current = null; // the id of the speech that is being made, once it is known
  #following = null;
  #parts;

  /** `parts` are the page's catalog, composer, listening, segments (of the events), events, request, keep, live and onSpoken. */
  constructor(parts) {
    this.#parts = parts;
    const { listening, events, composer, catalog } = parts;
    byId("speak").addEventListener("click", () => (this.busy ? this.stop() : this.start()));
    listening.player.addEventListener("change", () => this.#label());
    composer.addEventListener("change", () => this.#label());
    catalog.addEventListener("change", () => this.#label());
    for (const event of ["speech.segment", "speech.words"]) events.addEventListener(event, () => this.#follow());
    document.addEventListener("keydown", (event) => this.#onKey(event));
    onLanguage(() => this.#label());
  }

  /** Something is being spoken, or sounds. */
  get busy() {
    return this.#abort !== null || this.#parts.listening.player.playing;
  }

  stop() {
    const { live, listening } = this.#parts;
    if (live?.busy) {
      live.interrupt();
      return;
    }
    const { playing, position } = listening.player;
    this.#abort?.abort();
    listening.player.pause();
    if (playing) this.#tellCut(listening.speech, position);
  }

  /** Where in the text the listener cut in, if the server still knows the speech. */
  async #tellCut(speech, position) {
    const { listening } = this.#parts;
    const id = speech?.facts?.id;
    if (!id) return;
    await new Promise((resolve) => setTimeout(resolve, HUNG_UP_MS));
    const answer = await interrupt(id, position).catch(() => null);
    if (answer && listening.speech?.facts?.id === id && !listening.player.playing) listening.cut(answer.text_spoken);
  }

  /** Speak `again`, a request as before; else what is asked for now. */
  async start(again = null) {
    const { composer, listening, catalog, segments, keep, live, onSpoken } = this.#parts;
    if (!again && live?.busy) {
      live.finish();
      return;
    }
    if (!again && !composer.speakable) {
      composer.focus();
      return;
    }
    this.stop();
    clearNotice();
    const wanted = again ?? this.#parts.request();
    const abort = new AbortController();
    this.#abort = abort;
    this.#current = null;
    const { language, name: called } = catalog.voice(wanted.voice);
    const speech = { text: wanted.text, language, voice: wanted.voice, called, wanted, created: Date.now() };
    const sound = listening.player.begin(slowLine() ? CUSHION_SECONDS : 0);
    listening.begin(speech, expectedSeconds(wanted));
    /** @type {any} */
    let answer = null;
    let spoken = null;
    const told = (id) => ({ words: segments.words(id), verification: segments.verdicts(id) });
    const part = (partial) => {
      const facts = { ...answer, take: null, audioSeconds: sound.samples.length / SAMPLE_RATE };
      return { ...speech, model: facts.model, facts, segments: [...segments.of(facts.id)], ...told(facts.id), partial };
    };
    const keeping = keep(() => part("unfinished"), () => sound.samples);
    const stopWaiting = this.#waitForModel(wanted);
    this.#label();
    try {
      const facts = await speak(wanted, listening.player, sound, abort.signal, (known) => {
        answer = known;
        stopWaiting();
        this.#current = known.id;
        listening.facts = known;
        listening.phase("speaking");
        this.#follow();
      });
      listening.facts = { ...facts };
      listening.phase(null);
      spoken = { ...speech, model: facts.model, facts, segments: await segments.all(facts.id), ...told(facts.id), partial: null };
      if (this.#abort === abort) {
        this.#current = null;
        listening.follow(spoken.segments, spoken.words);
      }
    } catch (error) {
      const stopped = abort.signal.aborted;
      if (this.#abort === abort) listening.phase(stopped ? "stopped" : null);
      if (!stopped) this.#explain(error);
      if (sound.samples.length) spoken = part(stopped ? "stopped" : "broken_off");
    } finally {
      stopWaiting();
      if (this.#abort === abort) this.#abort = null;
      this.#label();
      catalog.refresh().catch(() => {});
    }
    if (spoken) await onSpoken(spoken, sound.samples, keeping);
    else keeping.drop();
  }

  #explain(error) {
    const { listening } = this.#parts;
    if (error instanceof BrokenOffError) notice(() => t("error.broken_off"));
    else explain(error);
    if (listening.player.duration) listening.phase("broken_off");
  }

  /** Say that the model is loading, as soon as it does; returns what ends that. */
  #waitForModel(wanted) {
    const { catalog, listening } = this.#parts;
    const model = catalog.speaking(wanted.model, wanted.voice);
    const last = catalog.live(model?.id)?.load_seconds ?? null;
    let hide = null;
    const look = () => {
      if (hide || !model || catalog.state(model) !== "loading") return;
      hide = listening.loading(last);
      const words = last ? "loading_again" : "loading";
      listening.phase(words, () => ({ model: shortTitle(model), seconds: last && Math.max(1, Math.round(last)) }));
    };
    listening.phase("waiting");
    catalog.addEventListener("change", look);
    look();
    return () => {
      catalog.removeEventListener("change", look);
      hide?.();
    };
  }

  /** Long texts have many segments: they are looked up in the text a few times a second, not for each. */
  #follow() {
    const { listening, segments } = this.#parts;
    this.#following ??= setTimeout(() => {
      this.#following = null;
      if (this.#current) listening.follow(segments.of(this.#current), segments.words(this.#current));
    }, FOLLOW_MS);
  }

  #label() {
    const button = byId("speak");
    const shows = this.busy ? "stop" : "speak";
    const label = element("span", {}, t(`speak.${shows}`));
    const key = element("kbd", { "aria-hidden": "true" }, t(this.busy ? "speak.stop_key" : navigator.platform.startsWith("Mac") ? "speak.key_mac" : "speak.key"));
    if (button.dataset.shows !== t(`speak.${shows}`)) button.replaceChildren(icon(this.busy ? "stop" : "play"), label, key);
    button.dataset.shows = t(`speak.${shows}`);
    button.classList.toggle("stops", this.busy);
    button.disabled = !this.busy && (!this.#parts.composer.speakable || !this.#parts.catalog.offer);
  }

  #onKey(event) {
    if (document.querySelector("dialog[open]") || event.isComposing) return;
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      if (this.#parts.catalog.offer) this.start();
    } else if (event.key === "Escape" && this.busy && !event.defaultPrevented) {
      this.stop();
    }
  }
}

function expectedSeconds({ text, speed = 1 }) {
  const wide = text.match(WIDE)?.length ?? 0;
  return (wide * SECONDS_A_WIDE + (text.length - wide) * SECONDS_A_NARROW) / speed;
}
