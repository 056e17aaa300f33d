// The form that makes a voice of a recording, with the consent of whoever speaks in it.

import { request } from "./api.js";
import { element } from "./dom.js";
import { language, languageName, t } from "./i18n.js";
import { told } from "./notices.js";
import { Sample } from "./sample.js";

const CONSENTS = "v1/audio/voice_consents";
const SHORTEST_CONSENT = 1; // second
const NEW = "";

/** Dispatches `added`, with the voice's name, and `consents` when there is another one. */
export class NewVoice extends EventTarget {
  node;
  #needs;
  #samples;
  #name = element("input", { id: "own-name", class: "field", maxlength: 100, required: true, autocomplete: "off" });
  #language = element("select", { id: "own-language" });
  #words = element("textarea", { id: "own-words", class: "field", rows: 3, maxlength: 5000, required: true, dir: "auto" });
  #consent = element("select", { id: "own-consent", onchange: () => this.#showConsent() });
  #speaker = element("input", { id: "own-speaker", class: "field", maxlength: 100, autocomplete: "off" });
  #new;
  #wrong = element("p", { class: "wrong", role: "alert" });
  #add = element("button", { type: "submit", class: "primary" }, t("own.add"));

  /** `offer` is what the server offers; `player` plays recordings. */
  constructor(offer, player) {
    super();
    const needs = offer.recordings;
    this.#needs = needs;
    const length = { shortest: needs.min_seconds, longest: needs.max_seconds };
    const voice = new Sample(t("own.recording"), length, player);
    const consent = new Sample(t("own.consent_recording"), { ...length, shortest: SHORTEST_CONSENT }, player);
    this.#samples = { voice, consent };
    const own = offer.languages.some(({ id }) => id === language()) ? language() : "en";
    this.#language.append(...offer.languages.map(({ id }) => element("option", { value: id, selected: id === own }, languageName(id))));
    this.#new = element("div", { class: "own-new" }, labelled("own.speaker", this.#speaker), element("p", { class: "hint" }, t("own.consent_words")), consent.node);
    const agreed = needs.consent_required
      ? [labelled("own.consent", this.#consent), this.#new]
      : [element("label", { class: "own-agreed" }, element("input", { type: "checkbox", required: true }), element("span", {}, t("own.agreed")))];
    this.node = element(
      "form", { class: "own-form", "aria-labelledby": "own-add-title", onsubmit: (event) => this.#onSubmit(event) },
      element("h3", { class: "heading", id: "own-add-title" }, t("own.add_title")),
      element("p", { class: "hint" }, t("own.add_about")),
      element("div", { class: "own-pair" }, labelled("own.name", this.#name), labelled("own.language", this.#language)),
      element("p", { class: "own-label" }, t("own.recording")),
      element("p", { class: "hint" }, t("own.recording_about", { shortest: needs.min_seconds, longest: needs.max_seconds })),
      voice.node,
      labelled("own.words", this.#words),
      ...agreed,
      this.#wrong,
      element("div", { class: "row end" }, this.#add),
    );
  }

  /** The caller's consents, to choose from. */
  set consents(consents) {
    const chosen = this.#consent.value;
    this.#consent.replaceChildren(
      element("option", { value: NEW }, t("own.consent_new")),
      ...consents.map(({ id, name }) => element("option", { value: id, selected: id === chosen }, name)),
    );
    this.#showConsent();
  }

  /** Break off what is being recorded or heard. */
  cease() {
    for (const sample of Object.values(this.#samples)) sample.cease();
  }

  #showConsent() {
    this.#new.hidden = this.#consent.value !== NEW;
    this.#speaker.required = this.#needs.consent_required && !this.#new.hidden;
  }

  async #onSubmit(event) {
    event.preventDefault();
    const { voice, consent } = this.#samples;
    const missing = [voice, this.#needs.consent_required && !this.#new.hidden && consent].find((each) => each && !each.file);
    this.#wrong.replaceChildren(missing ? t("own.no_recording") : "");
    if (missing) {
      missing.focus();
      return;
    }
    this.cease();
    this.#busy(true);
    try {
      await this.#send();
    } catch (error) {
      this.#wrong.replaceChildren(...told(error));
    } finally {
      this.#busy(false);
    }
  }

  /** A consent that was given stays, and is chosen, where the voice is refused. */
  async #send() {
    const { voice, consent } = this.#samples;
    if (this.#needs.consent_required && this.#consent.value === NEW) {
      const given = await sent(CONSENTS, { name: this.#speaker.value, language: this.#language.value, recording: consent.file });
      this.#consent.append(element("option", { value: given.id, selected: true }, given.name));
      this.#showConsent();
      this.dispatchEvent(new Event("consents"));
    }
    const name = this.#name.value.trim();
    const given = this.#needs.consent_required ? { consent: this.#consent.value } : {};
    await sent("v1/audio/voices", { name, language: this.#language.value, audio_sample: voice.file, ref_text: this.#words.value, ...given });
    this.dispatchEvent(new CustomEvent("added", { detail: name }));
  }

  #busy(busy) {
    this.#add.disabled = busy;
    this.#add.textContent = t(busy ? "own.adding" : "own.add");
  }
}

const labelled = (key, field) => element("div", { class: "own-field" }, element("label", { for: field.id }, t(key)), field);

async function sent(path, fields) {
  const body = new FormData();
  for (const [name, value] of Object.entries(fields)) body.append(name, value);
  return (await request(path, { method: "POST", body })).json();
}

/** The consents that the caller has uploaded, as many as one may have. */
export async function fetchConsents() {
  const found = [];
  for (;;) {
    const after = found.length ? `&after=${found.at(-1).id}` : "";
    const page = await (await request(`${CONSENTS}?limit=100${after}`)).json();
    found.push(...page.data);
    if (!page.has_more) return found;
  }
}

export const removeConsent = (id) => request(`${CONSENTS}/${id}`, { method: "DELETE" });
