// The model picker: which there are, in which state each is, and what to do for those that are not there yet.

import { byId, element, icon } from "./dom.js";
import { duration, has, languageName, number, onLanguage, t } from "./i18n.js";
import { quoted } from "./notices.js";
import { recall, remember } from "./remembered.js";

const MARGIN = 20; // CSS pixels around the panel

/** Dispatches `change` when another model is chosen. */
export class Models extends EventTarget {
  #catalog;
  #chosen = null;
  #voice = null;
  #button = element("button", { type: "button", class: "picker", hidden: true, "aria-expanded": "false", "aria-controls": "model-panel", onclick: () => this.#toggle() });
  #panel = element("fieldset", { class: "panel", id: "model-panel", hidden: true });

  constructor(catalog) {
    super();
    this.#catalog = catalog;
    byId("model").append(this.#button, this.#panel);
    catalog.addEventListener("load", () => this.#onOffer());
    catalog.addEventListener("change", () => this.#show());
    document.addEventListener("pointerdown", (event) => byId("model").contains(event.target) || this.#toggle(false));
    byId("model").addEventListener("keydown", (event) => this.#onKey(event));
    byId("model").addEventListener("focusout", ({ relatedTarget }) => {
      if (relatedTarget && !byId("model").contains(relatedTarget)) this.#toggle(false);
    });
    onLanguage(() => this.#show());
  }

  /** The chosen model's id. */
  get chosen() {
    return this.#chosen;
  }

  set chosen(id) {
    if (!this.#catalog.model(id)) return;
    this.#chosen = id;
    remember("model", id);
    this.#show();
    this.dispatchEvent(new Event("change"));
  }

  /** Show what the model is for the voice that speaks. */
  set voice(id) {
    this.#voice = id;
    this.#show();
  }

  /** The model that will speak: the chosen one, or its sibling that knows the voice. */
  get speaking() {
    return this.#catalog.speaking(this.#chosen, this.#voice);
  }

  #onOffer() {
    const wanted = this.#chosen ?? recall("model", null);
    const usable = this.#catalog.model(wanted)?.status === "available";
    this.chosen = usable ? wanted : this.#catalog.offer.default;
  }

  #show() {
    if (!this.#chosen) return;
    const model = this.speaking ?? this.#catalog.model(this.#chosen);
    const state = this.#catalog.state(model);
    this.#button.hidden = false;
    this.#button.replaceChildren(
      element("span", { class: "unseen" }, t("model.label")),
      element("span", { class: "picker-name" }, shortTitle(model)),
      badge(state),
      icon("chevron"),
    );
    if (this.#panel.hidden) return;
    const focused = this.#panel.querySelector(":focus")?.value;
    this.#panel.replaceChildren(
      element("legend", { class: "unseen" }, t("model.label")),
      ...workingFirst(this.#catalog.choices).map((each) => this.#option(each)),
    );
    if (focused) this.#panel.querySelector(`[value="${CSS.escape(focused)}"]`)?.focus();
  }

  #option(model) {
    const usable = model.status === "available";
    const state = this.#catalog.state(model);
    const radio = element("input", {
      type: "radio", name: "model", class: "unseen", value: model.id, checked: model.id === this.#chosen, disabled: !usable,
      onchange: () => (this.chosen = model.id),
    });
    const memory = model.memory_gib ? t("model.memory", { n: number(model.memory_gib, 1) }) : null;
    return element(
      "label",
      { class: usable ? "option" : "option off", onclick: (event) => event.detail && usable && setTimeout(() => this.#toggle(false)) },
      radio,
      element("span", { class: "option-head" }, element("span", { class: "option-name" }, title(model)), badge(state)),
      element("span", { class: "faint" }, [this.#whatToDo(model, state), memory].filter(Boolean).join(" "), ...this.#failure(model, state)),
    );
  }

  #whatToDo(model, state) {
    const variable = `ORPHEUS_MODEL_${model.id.replace(/\W/g, "_").toUpperCase()}`;
    const last = this.#catalog.live(model.id)?.load_seconds;
    if (state === "on_demand" && last) return t("model.about.on_demand_again", { time: duration(last) });
    if (model.engine === "preview" && model.status === "available") return t("model.about.preview");
    return t(`model.about.${state}`, { variable });
  }

  #failure(model, state) {
    const words = state === "failed" && this.#catalog.live(model.id)?.error;
    return words ? [" ", quoted(words)] : [];
  }

  #toggle(open = this.#panel.hidden) {
    if (open === !this.#panel.hidden) return;
    this.#panel.hidden = !open;
    this.#button.setAttribute("aria-expanded", String(open));
    if (open) {
      this.#show();
      this.#place();
      this.#panel.querySelector(":checked")?.focus();
    }
  }

  /** Below the button or above it, where there is more room, and no higher than that. */
  #place() {
    const { top, bottom } = this.#button.getBoundingClientRect();
    const [above, below] = [top - MARGIN, innerHeight - bottom - MARGIN];
    this.#panel.classList.toggle("above", above > below);
    this.#panel.style.setProperty("--room", `${Math.max(above, below)}px`);
  }

  #onKey(event) {
    if (this.#panel.hidden || !["Escape", "Enter"].includes(event.key) || event.target === this.#button) return;
    if (event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.#toggle(false);
    this.#button.focus();
  }
}

/** Which works here first. */
const workingFirst = (models) => models.toSorted((a, b) => Number(b.status === "available") - Number(a.status === "available"));

/** A model's state as a coloured word. */
export const badge = (state) => element("span", { class: "badge", "data-state": state }, t(`model.state.${state}`));

/** What a model is called, in the page's language where there is a word for it. */
export function title(model) {
  if (has(`model.title.${model.id}`)) return t(`model.title.${model.id}`);
  const [name, ...others] = model.title.split(", ");
  const english = new Intl.DisplayNames(["en"], { type: "language" });
  const said = others.join(", ").replace("Mandarin", english.of("zh"));
  const ofLanguages = said && model.languages.every((id) => said.includes(english.of(id)));
  return ofLanguages ? [name, ...model.languages.map(languageName)].join(" · ") : model.title;
}

/** A title without what stands behind its colon. */
export const shortTitle = (model) => title(model).split(/[:：]/)[0];
