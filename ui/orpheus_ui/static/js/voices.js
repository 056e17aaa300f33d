// The voices: cards by language, each with a sample to hear.

import { byId, element, icon, roving } from "./dom.js";
import { language, languageName, onLanguage, t } from "./i18n.js";
import { shortTitle } from "./models.js";
import { explain, toast } from "./notices.js";
import { Player } from "./player.js";
import { recall, remember } from "./remembered.js";
import { fetchSpeech } from "./speech.js";

const HUES = [28, 350, 200, 265, 160, 48, 220, 320]; // far enough from each other to tell neighbours apart

/** Dispatches `change` when another voice is chosen, and `sample` before one is heard. */
export class Voices extends EventTarget {
  #catalog;
  #model;
  #chosen = null;
  #language = null;
  player = new Player();
  #samples = new Map();
  #playing = null;
  #abort = null;

  /** `model()` is the id of the chosen model. */
  constructor(catalog, model) {
    super();
    this.#catalog = catalog;
    this.#model = model;
    catalog.addEventListener("load", () => this.#onOffer());
    this.player.addEventListener("ended", () => this.#setPlaying(null));
    roving(byId("voice-languages"), () => [...byId("voice-languages").children], (tab) => this.#open(tab.dataset.language));
    byId("voice-search").addEventListener("input", () => this.#show());
    onLanguage(() => this.#show());
  }

  /** The voice's id. */
  get chosen() {
    return this.#chosen;
  }

  set chosen(id) {
    const voice = this.#usable.find((each) => each.id === id);
    if (!voice) return;
    this.#chosen = id;
    this.#language = voice.language;
    remember("voice", id);
    this.#show();
    this.dispatchEvent(new Event("change"));
  }

  get #usable() {
    const { usable } = this.#catalog.voicesOf(this.#model());
    return usable.length ? usable : this.#catalog.offer.voices; // the server says what is wrong with them
  }

  /** Those that may speak side by side with the chosen one: voices of the same model. */
  get beside() {
    const model = this.#model();
    const speaking = this.#catalog.speaking(model, this.#chosen);
    return this.#usable.filter(({ id }) => this.#catalog.speaking(model, id) === speaking);
  }

  /** Another model is chosen: where it does not know the voice, one that it knows speaks, and that is told. */
  fit() {
    const before = this.#catalog.voice(this.#chosen);
    if (!before) return;
    const usable = this.#usable;
    if (usable.includes(before)) this.#show();
    else {
      this.chosen = (usable.find((voice) => voice.language === before.language) ?? this.#native(usable)).id;
      toast(t("voices.changed", { before: before.name, voice: this.#catalog.voice(this.#chosen).name, model: shortTitle(this.#catalog.model(this.#model())) }));
    }
  }

  /** Whoever of `voices` speaks to the reader in their language, the usual one first. */
  #native(voices) {
    const usual = voices.find(({ id }) => id === this.#catalog.offer.defaults.voice);
    return usual?.language === language() ? usual : (voices.find((voice) => voice.language === language()) ?? usual ?? voices[0]);
  }

  /** End the sample that sounds. */
  hush() {
    this.#abort?.abort();
    this.player.pause();
    this.#setPlaying(null);
  }

  #onOffer() {
    const usable = this.#usable;
    const wanted = this.#chosen ?? recall("voice", null);
    this.chosen = (usable.find(({ id }) => id === wanted) ?? this.#native(usable)).id;
  }

  #open(id) {
    this.#language = id;
    this.#show();
  }

  #show() {
    const { offer } = this.#catalog;
    if (!offer) return;
    const { known, usable } = this.#catalog.voicesOf(this.#model());
    const spoken = offer.languages.filter(({ id }) => known.some((voice) => voice.language === id));
    if (!spoken.some(({ id }) => id === this.#language)) this.#language = this.#catalog.voice(this.#chosen).language;
    const wanted = byId("voice-search").value.trim().toLowerCase();
    byId("voice-languages").hidden = wanted !== "";
    byId("voice-languages").replaceChildren(...spoken.map(({ id }) => this.#tab(id)));
    byId("voices").setAttribute("aria-labelledby", wanted ? "voices-title" : `language-${this.#language}`);
    const voices = known.filter((voice) => (wanted ? described(voice).includes(wanted) : voice.language === this.#language));
    const none = element("p", { class: "hint" }, t("voices.not_found"));
    byId("voices").replaceChildren(...(voices.length ? voices.map((voice) => this.#card(voice, { ofAnyLanguage: wanted !== "", off: !usable.includes(voice) })) : [none]));
  }

  #tab(id) {
    const selected = id === this.#language;
    return element(
      "button",
      {
        type: "button", role: "tab", class: "tab", id: `language-${id}`, "data-language": id, "aria-controls": "voices",
        "aria-selected": String(selected), tabindex: selected ? "0" : "-1",
        onclick: () => {
          this.#open(id);
          byId(`language-${id}`).focus();
        },
      },
      languageName(id),
    );
  }

  /** Who speaks, for the place beside the button that speaks. */
  get portrait() {
    const voice = this.#catalog.voice(this.#chosen);
    const language = element("span", { class: "faint" }, languageName(voice.language));
    return [this.#avatar(voice), element("span", { class: "voice-words" }, element("span", { class: "voice-name", lang: voice.language }, voice.name), language)];
  }

  /** Show the chosen voice among the others, whatever is shown there now. */
  reveal() {
    byId("voice-search").value = "";
    this.#language = this.#catalog.voice(this.#chosen).language;
    this.#show();
    const radio = byId("voices").querySelector(":checked");
    radio.focus();
    radio.closest(".voice").scrollIntoView({ block: "nearest" });
  }

  #avatar(voice) {
    const place = this.#catalog.offer.voices.filter(({ language }) => language === voice.language).indexOf(voice);
    const avatar = element("span", { class: "avatar", "aria-hidden": "true" }, [...voice.name][0].toUpperCase());
    avatar.style.setProperty("--hue", HUES[place % HUES.length]);
    return avatar;
  }

  #card(voice, { ofAnyLanguage, off }) {
    const avatar = this.#avatar(voice);
    const radio = element("input", {
      type: "radio", name: "voice", class: "unseen", value: voice.id, checked: voice.id === this.#chosen, disabled: off,
      onchange: () => this.#choose(voice.id),
    });
    const words = element(
      "span", { class: "voice-words" },
      element("span", { class: "voice-name", lang: voice.language }, voice.name),
      element("span", { class: "faint" }, off ? t("voices.off") : ofAnyLanguage ? languageName(voice.language) : t(`gender.${voice.gender}`)),
    );
    const play = element("button", { type: "button", class: "round small", disabled: off, onclick: () => this.#toggle(voice) });
    play.dataset.sample = voice.id;
    this.#labelSample(play);
    return element("div", { class: off ? "voice off" : "voice" }, element("label", {}, radio, avatar, words), play);
  }

  /** Without drawing the cards anew, so that the keyboard stays where it is. */
  #choose(id) {
    this.#chosen = id;
    remember("voice", id);
    this.dispatchEvent(new Event("change"));
  }

  #labelSample(button) {
    const id = button.dataset.sample;
    const playing = this.#playing === id;
    button.replaceChildren(icon(playing ? "stop" : "play"));
    button.setAttribute("aria-label", t(playing ? "voices.stop_sample" : "voices.sample", { voice: this.#catalog.voice(id).name }));
  }

  #setPlaying(id) {
    this.#playing = id;
    for (const button of byId("voices").querySelectorAll("[data-sample]")) this.#labelSample(button);
  }

  async #toggle(voice) {
    const playing = this.#playing === voice.id;
    this.hush();
    if (playing) return;
    this.dispatchEvent(new Event("sample"));
    this.player.warm();
    this.#setPlaying(voice.id);
    this.#abort = new AbortController();
    try {
      this.player.load(await this.#sample(voice, this.#abort.signal));
      this.player.play();
    } catch (error) {
      if (error.name === "AbortError") return;
      this.#setPlaying(null);
      explain(error);
    }
  }

  async #sample(voice, signal) {
    const model = this.#model();
    const kept = `${model} ${voice.id}`;
    if (!this.#samples.has(kept)) {
      const { example } = this.#catalog.offer.languages.find(({ id }) => id === voice.language);
      this.#samples.set(kept, await fetchSpeech({ text: example, voice: voice.id, model }, signal));
    }
    return this.#samples.get(kept);
  }
}

/** What a search finds a voice by. */
const described = ({ id, name, language: spoken, gender }) => [id, name, spoken, languageName(spoken), t(`gender.${gender}`)].join(" ").toLowerCase();
