// The history on the page: hear again, download, take up again, delete.

import { byId, element, icon } from "./dom.js";
import { fileName, save } from "./download.js";
import { clock, moment, onLanguage, t } from "./i18n.js";
import { confirmed, inWords, notice } from "./notices.js";

const BARS = 28;
const BEGINNING = 160; // characters of the text

/** Shows a History; `onReplay(speech, samples)` and `onReuse(speech)` are the page's. */
export class Shelf {
  #history;
  #parts;
  #speeches = [];

  constructor(history, parts) {
    this.#history = history;
    this.#parts = parts;
    byId("history-clear").addEventListener("click", () => this.#clear());
    onLanguage(() => this.#show());
    this.#guard(() => this.#load());
  }

  /** Keep a speech that was just made. */
  keep(speech, samples) {
    return this.#guard(async () => {
      await this.#history.add({ ...speech, outline: outline(samples) }, samples);
      await this.#load();
    });
  }

  async #load() {
    this.#speeches = await this.#history.list();
    this.#show();
  }

  #show() {
    byId("history-clear").hidden = this.#speeches.length === 0;
    const empty = element("li", { class: "shelf-empty" }, t("history.empty"));
    byId("history").replaceChildren(...(this.#speeches.length ? this.#speeches.map((each) => this.#item(each)) : [empty]));
  }

  #item(speech) {
    const named = { text: speech.text.slice(0, 40) };
    const button = (name, action) =>
      element("button", { type: "button", class: "quiet bare", "aria-label": t(`history.${name}`, named), onclick: () => this.#guard(() => action(speech)) }, icon(name));
    const facts = [speech.voice, clock(speech.seconds), moment(speech.created)];
    return element(
      "li", { class: "kept" },
      element("button", { type: "button", class: "round small", "aria-label": t("history.play", named), onclick: () => this.#guard(() => this.#replay(speech)) }, icon("play")),
      picture(speech.outline),
      element(
        "div", { class: "kept-words" },
        element("p", { class: "kept-text" }, speech.text.slice(0, BEGINNING)),
        element("p", { class: "faint" }, facts.join(" · ")),
      ),
      element("div", { class: "kept-actions" }, button("reuse", this.#parts.onReuse), button("download", (each) => this.#download(each)), button("delete", (each) => this.#remove(each))),
    );
  }

  async #replay(speech) {
    this.#parts.onReplay(speech, await this.#history.samples(speech.id));
  }

  async #download(speech) {
    const name = fileName(speech.voice, speech.text, speech.created);
    await save(await this.#history.samples(speech.id), this.#parts.format(), name);
  }

  async #remove(speech) {
    const at = this.#speeches.indexOf(speech);
    await this.#history.remove(speech.id);
    await this.#load();
    const rows = byId("history").children;
    (rows[Math.min(at, rows.length - 1)].querySelector("button") ?? byId("text")).focus();
  }

  async #clear() {
    if (!(await confirmed(t("history.clear_question"), t("history.clear")))) return;
    await this.#guard(async () => {
      await this.#history.clear();
      await this.#load();
    });
  }

  async #guard(work) {
    try {
      await work();
    } catch (error) {
      notice(error instanceof DOMException ? t("error.history") : inWords(error));
    }
  }
}

/** How loud it is along the way, `BARS` values from 0 to 1. */
function outline(samples) {
  const size = Math.max(1, Math.floor(samples.length / BARS));
  return Array.from({ length: BARS }, (_, bar) => {
    let peak = 0;
    for (let i = bar * size; i < Math.min((bar + 1) * size, samples.length); i += 8) peak = Math.max(peak, Math.abs(samples[i]));
    return Number((peak / 32_768).toFixed(2));
  });
}

function picture(bars) {
  const SVG = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "outline");
  svg.setAttribute("viewBox", `0 0 ${BARS * 3} 24`);
  svg.setAttribute("aria-hidden", "true");
  bars.forEach((value, bar) => {
    const height = Math.max(1.5, Math.min(1, value * 1.3) * 22);
    const rect = document.createElementNS(SVG, "rect");
    for (const [name, number] of Object.entries({ x: bar * 3, y: 12 - height / 2, width: 2, height, rx: 1 })) rect.setAttribute(name, String(number));
    svg.append(rect);
  });
  return svg;
}
