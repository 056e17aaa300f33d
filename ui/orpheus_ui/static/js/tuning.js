// How it is spoken: the sampling, tempo and seed, each with its number, a plain sentence and a reset.

import { byId, element, icon } from "./dom.js";
import { onLanguage, t } from "./i18n.js";
import { recall, remember } from "./remembered.js";

const AUTOMATIC = 0; // where the number of tokens is the model's own affair
export const LARGEST_SEED = 2 ** 31 - 1;

/** Dispatches `change` when a value has. */
export class Tuning extends EventTarget {
  #knobs = [];
  #values = {};
  #defaults = {};
  #obeyed = (_name) => true;

  constructor(catalog) {
    super();
    catalog.addEventListener("load", () => this.#onOffer(catalog.offer));
    byId("tuning-reset").addEventListener("click", () => this.take({}));
    onLanguage(() => this.#show());
  }

  /** What a request needs to say: the values that are not the defaults. */
  get chosen() {
    const differs = ([name, value]) => value !== this.#defaults[name];
    return Object.fromEntries(Object.entries(this.#values).filter(differs));
  }

  /** Take values from a request; what it does not say gets its default. */
  take(values) {
    for (const knob of this.#knobs) this.#values[knob.name] = within(values[knob.name] ?? "", knob, this.#defaults[knob.name]);
    remember("tuning", this.chosen);
    this.#show();
    this.dispatchEvent(new Event("change"));
  }

  /** Only what `obeyed(name)` is obeyed by the model that speaks; `words` say why, null for nothing. */
  obey(obeyed, words) {
    byId("tuning-note").hidden = !words;
    byId("tuning-note").textContent = words ?? "";
    this.#obeyed = obeyed;
    for (const row of byId("tuning").children) this.#switch(row);
  }

  #switch(row) {
    const off = !this.#obeyed(row.dataset.knob);
    row.classList.toggle("off", off);
    row.querySelector("fieldset").disabled = off;
  }

  #onOffer({ defaults, limits }) {
    this.#knobs = [
      { name: "speed", min: limits.min_speed, max: limits.max_speed, step: 0.05 },
      { name: "temperature", min: 0, max: 2, step: 0.05 },
      { name: "top_p", min: 0.05, max: 1, step: 0.05 },
      { name: "repetition_penalty", min: 1, max: 2, step: 0.05 },
      { name: "max_tokens", min: AUTOMATIC, max: 8192, step: 64, automatic: true },
      { name: "seed", min: 0, max: LARGEST_SEED, step: 1, dice: true, automatic: true },
    ];
    this.#defaults = { ...defaults, max_tokens: null, seed: null };
    this.take(recall("tuning", {}));
  }

  #show() {
    byId("tuning").replaceChildren(...this.#knobs.map((knob) => this.#row(knob)));
    for (const row of byId("tuning").children) this.#switch(row);
  }

  #row(knob) {
    const { name, min, max, step } = knob;
    const described = { "aria-describedby": `about-${name}`, min, max, step };
    const field = element("input", {
      type: "number", class: "number", id: `knob-${name}`, inputmode: "decimal",
      placeholder: knob.automatic ? t(`tuning.${name}.automatic`) : null, ...described,
    });
    const range = knob.dice ? null : element("input", { type: "range", "aria-label": t(`tuning.${name}`), ...described });
    const reset = element("button", { type: "button", class: "quiet bare", "aria-label": t("tuning.reset", { name: t(`tuning.${name}`) }), onclick: () => set(this.#defaults[name]) }, icon("reset"));
    const dice = knob.dice && element("button", { type: "button", class: "quiet bare", "aria-label": t("tuning.dice"), onclick: () => set(Math.floor(Math.random() * LARGEST_SEED)) }, icon("dice"));
    const show = () => {
      const value = this.#values[name];
      field.value = value ?? "";
      if (range) {
        range.value = value ?? AUTOMATIC;
        range.style.setProperty("--filled", `${((range.value - min) / (max - min)) * 100}%`);
        if (knob.automatic) range.setAttribute("aria-valuetext", value ?? t(`tuning.${name}.automatic`));
      }
      reset.disabled = value === this.#defaults[name];
    };
    const set = (value) => {
      this.#values[name] = value;
      remember("tuning", this.chosen);
      show();
      this.dispatchEvent(new Event("change"));
    };
    field.addEventListener("change", () => set(within(field.value, knob, this.#defaults[name])));
    range?.addEventListener("input", () => set(within(range.value, knob, this.#defaults[name])));
    show();
    const controls = element(
      "fieldset", {},
      element("div", { class: "row spread" }, element("label", { for: `knob-${name}` }, t(`tuning.${name}`)), element("span", { class: "row tight" }, dice, reset, field)),
      range,
    );
    const about = element("p", { class: "hint", id: `about-${name}` }, t(`tuning.${name}.about`));
    return element("div", { class: "knob", "data-knob": name }, controls, about);
  }
}

/** What was entered, as a number the server takes; `fallback` for nothing. */
function within(entered, { name, min, max, step, automatic }, fallback) {
  const value = Number(entered);
  if (entered === "" || Number.isNaN(value)) return fallback;
  if (automatic && name === "max_tokens" && value <= AUTOMATIC) return null;
  const limited = Math.min(Math.max(value, name === "max_tokens" ? 7 : min), max);
  return step < 1 ? Number(limited.toFixed(2)) : Math.round(limited);
}
