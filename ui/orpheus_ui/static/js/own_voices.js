// Voices of one's own: which there are and what they cost, to hear, to take, to remove, and to add one of a recording.

import { request } from "./api.js";
import { element, icon } from "./dom.js";
import { languageName, moment, number, t } from "./i18n.js";
import { badge, shortTitle } from "./models.js";
import { confirmed, told } from "./notices.js";
import { fetchConsents, NewVoice, removeConsent } from "./new_voice.js";
import { Player } from "./player.js";
import { fetchSpeech } from "./speech.js";

/** A dialog over the page; each is opened once. */
export class OwnVoices {
  #catalog;
  #onUse;
  #player = new Player();
  #playing = null; // the id of the voice that is heard
  #abort = null;
  #consents = [];
  #form;
  #title = element("h2", { id: "own-title", tabindex: "-1" }, t("own.title"));
  #said = element("p", { class: "hint", role: "status" });
  #wrong = element("p", { class: "wrong", role: "alert" });
  #list = element("ul", { class: "own-list", "aria-labelledby": "own-title" });
  #given = element("details", { class: "own-consents", hidden: true });
  #dialog;

  /** `onSound()` is called before something is heard; `onUse(voice)` when one is to speak. */
  constructor(catalog, { onSound, onUse }) {
    this.#catalog = catalog;
    this.#onUse = onUse;
    this.#player.addEventListener("start", onSound);
    this.#player.addEventListener("ended", () => this.#hush());
    this.#form = this.#newForm();
    const close = element("button", { type: "button", class: "quiet bare", "aria-label": t("own.close"), onclick: () => this.#dialog.close() }, icon("close"));
    this.#dialog = element(
      "dialog", { class: "dialog own", id: "own", "aria-labelledby": "own-title", onclose: () => this.#onClose() },
      element("div", { class: "row spread" }, this.#title, close),
      element("p", { class: "hint" }, t("own.about")),
      this.#list, this.#said, this.#wrong, this.#given, this.#whereItSpeaks(), this.#form.node,
    );
  }

  #newForm() {
    const form = new NewVoice(this.#catalog.offer, this.#player);
    form.consents = this.#consents;
    form.addEventListener("added", (/** @type {any} */ { detail }) => this.#onAdded(detail));
    form.addEventListener("consents", () => this.#loadConsents());
    return form;
  }

  open() {
    document.body.append(this.#dialog);
    this.#show();
    this.#dialog.showModal();
    this.#title.focus();
    this.#loadConsents();
  }

  #onClose() {
    this.#form.cease();
    this.#hush();
    this.#dialog.remove();
  }

  /** Before anybody records: whether such a voice can speak on this machine. */
  #whereItSpeaks() {
    const model = this.#catalog.model(this.#catalog.offer.recordings.model);
    if (!model || model.status === "available") return null;
    const words = t("own.model_missing", { model: shortTitle(model), what: t(`model.about.${model.status}`, { variable: "ORPHEUS_MODEL_MEDIUM_3B_PRETRAINED" }) });
    return element("p", { class: "own-missing" }, words);
  }

  #show() {
    const voices = this.#catalog.offer.voices.filter(({ kind }) => kind !== "built_in");
    const none = element("li", { class: "hint" }, t("own.none"));
    this.#list.replaceChildren(...(voices.length ? voices.map((voice) => this.#item(voice)) : [none]));
  }

  #item(voice) {
    const { id, name, kind, languages, memory_mib: memory, removable } = voice;
    const model = this.#catalog.model(voice.model);
    const here = model?.status === "available";
    const cost = memory ? t("own.memory", { n: number(memory) }) : t("own.no_memory");
    const facts = [t(`own.kind.${kind}`), languages.map(languageName).join(t("plan.and")), model && shortTitle(model), cost];
    const hear = element("button", { type: "button", class: "round small", disabled: !here, "data-hear": id, onclick: () => this.#toggle(voice) });
    this.#labelHear(hear, name);
    return element(
      "li", { "data-id": id },
      hear,
      element("div", { class: "own-facts" }, element("p", { class: "own-name", dir: "auto" }, name, model && !here && badge(model.status)), element("p", { class: "faint" }, facts.filter(Boolean).join(" · "))),
      here && element("button", { type: "button", class: "quiet", "aria-label": t("own.use_of", { voice: name }), onclick: () => this.#use(voice) }, t("own.use")),
      removable && element("button", { type: "button", class: "quiet bare", "aria-label": t("own.remove_of", { voice: name }), onclick: () => this.#remove(voice) }, icon("delete")),
    );
  }

  #labelHear(button, name) {
    const playing = button.dataset.hear === this.#playing;
    button.replaceChildren(icon(playing ? "stop" : "play"));
    button.setAttribute("aria-label", t(playing ? "voices.stop_sample" : "voices.sample", { voice: name }));
  }

  #setPlaying(id) {
    this.#playing = id;
    for (const button of /** @type {NodeListOf<HTMLElement>} */ (this.#list.querySelectorAll("[data-hear]"))) this.#labelHear(button, this.#catalog.voice(button.dataset.hear)?.name ?? "");
  }

  #hush() {
    this.#abort?.abort();
    this.#player.pause();
    this.#setPlaying(null);
  }

  async #toggle(voice) {
    const playing = this.#playing === voice.id;
    this.#hush();
    if (playing) return;
    this.#player.warm();
    this.#setPlaying(voice.id);
    const abort = new AbortController();
    this.#abort = abort;
    await this.#guard(async () => {
      const { example } = this.#catalog.offer.languages.find(({ id }) => id === voice.language);
      this.#player.load(await fetchSpeech({ text: example, voice: voice.id, model: voice.model }, abort.signal));
      this.#player.play();
    });
    if (!this.#player.playing && this.#abort === abort) this.#setPlaying(null);
  }

  #use(voice) {
    this.#dialog.close();
    this.#onUse(voice);
  }

  async #remove(voice) {
    if (!(await confirmed(t("own.remove_question", { voice: voice.name }), t("own.remove")))) return;
    await this.#guard(async () => {
      await request(`v1/audio/voices/${encodeURIComponent(voice.id)}`, { method: "DELETE" });
      await this.#catalog.load();
      this.#said.textContent = t("own.removed", { voice: voice.name });
    });
    this.#show();
    this.#title.focus();
  }

  async #onAdded(name) {
    const used = this.#form;
    this.#form = this.#newForm();
    used.node.replaceWith(this.#form.node);
    await this.#guard(() => this.#catalog.load());
    this.#said.textContent = t("own.added", { voice: name });
    this.#show();
    this.#title.focus();
  }

  async #loadConsents() {
    await this.#guard(async () => {
      this.#consents = await fetchConsents();
      this.#form.consents = this.#consents;
      this.#showConsents();
    });
  }

  #showConsents() {
    this.#given.hidden = this.#consents.length === 0;
    const remove = ({ id, name }) => this.#guard(async () => {
      if (!(await confirmed(t("own.consent_remove_question", { name }), t("own.remove")))) return;
      await removeConsent(id);
      await this.#loadConsents();
      this.#title.focus();
    });
    const item = (consent) => element(
      "li", {},
      element("div", { class: "own-facts" }, element("p", { class: "own-name", dir: "auto" }, consent.name), element("p", { class: "faint" }, moment(consent.created_at * 1000))),
      element("button", { type: "button", class: "quiet bare", "aria-label": t("own.remove_of", { voice: consent.name }), onclick: () => remove(consent) }, icon("delete")),
    );
    this.#given.replaceChildren(
      element("summary", {}, t("own.consents", { n: number(this.#consents.length) })),
      element("ul", { class: "own-list" }, ...this.#consents.map(item)),
    );
  }

  async #guard(work) {
    this.#wrong.replaceChildren();
    this.#said.textContent = "";
    try {
      await work();
    } catch (error) {
      if (error.name !== "AbortError") this.#wrong.replaceChildren(...told(error));
    }
  }
}
