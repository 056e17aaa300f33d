// Several speakers: the names that the text's lines begin with, and a voice for each.

import { byId, element } from "./dom.js";
import { onLanguage, t } from "./i18n.js";
import { recall, remember } from "./remembered.js";
import { key, speakersIn } from "./speakers.js";

const MOST_REMEMBERED = 50;

/** Dispatches `change` when somebody gets another voice. */
export class Cast extends EventTarget {
  #text;
  #voices;
  #given = recall("cast", {}); // voices by names in lower case, also of those who are not in this text
  #shown = null;

  /** `text()` is the text; `voices()` are those that may speak side by side, `[{id, name}]`. */
  constructor(text, voices) {
    super();
    this.#text = text;
    this.#voices = voices;
    onLanguage(() => this.look());
  }

  /** What a request says of it: `{cast: {Anna: "tara"}}`, or nothing. */
  get chosen() {
    const usable = new Set(this.#voices().map(({ id }) => id));
    const cast = speakersIn(this.#text()).map((name) => [name, this.#given[key(name)]]).filter(([, voice]) => usable.has(voice));
    return cast.length ? { cast: Object.fromEntries(cast) } : {};
  }

  /** Take the voices of a request's cast. */
  take(cast) {
    for (const [name, voice] of Object.entries(cast ?? {})) this.#give(name, voice);
    this.look();
  }

  /** Show who speaks in the text as it is now. */
  look() {
    const names = speakersIn(this.#text());
    const voices = this.#voices();
    const shown = JSON.stringify([names, voices, document.documentElement.lang, names.map((name) => this.#given[key(name)])]);
    if (shown === this.#shown) return;
    this.#shown = shown;
    const place = byId("cast");
    place.hidden = names.length === 0;
    place.replaceChildren(element("p", { class: "hint" }, t("cast.hint")), ...names.map((name, at) => this.#row(name, at, voices)));
  }

  #row(name, at, voices) {
    const given = this.#given[key(name)];
    const none = element("option", { value: "" }, t("cast.none"));
    const select = element(
      "select", { id: `cast-${at}`, onchange: () => this.#choose(name, select.value) },
      none, ...voices.map((voice) => element("option", { value: voice.id, selected: voice.id === given }, voice.name)),
    );
    return element("div", { class: "cast-member" }, element("label", { for: `cast-${at}`, dir: "auto" }, name), select);
  }

  #choose(name, voice) {
    this.#give(name, voice);
    this.#shown = null;
    this.dispatchEvent(new Event("change"));
  }

  #give(name, voice) {
    const { [key(name)]: _, ...others } = this.#given;
    this.#given = Object.fromEntries([...Object.entries(others), ...(voice ? [[key(name), voice]] : [])].slice(-MOST_REMEMBERED));
    remember("cast", this.#given);
  }
}
