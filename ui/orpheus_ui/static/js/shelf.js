// The history on the page: search it, hear again, name, download, take up again, delete and bring back.

import { byId, element, icon } from "./dom.js";
import { save } from "./download.js";
import { GoneError, MOST_SPEECHES } from "./history.js";
import { brief, clock, duration, moment, number, onLanguage, t } from "./i18n.js";
import { explain, notice, toast } from "./notices.js";
import { picture } from "./outline.js";
import { onTold } from "./tabs.js";
import { mark } from "./verdicts.js";

const BEGINNING = 160; // characters of the text

/** Shows a History; `nameOf(id)` is what a voice is called, `onReplay(speech, samples)`, `onReuse(speech)` and `onSpeak(wanted)` are the page's. */
export class Shelf {
  #history;
  #parts;
  #speeches = [];
  #room = null;

  constructor(history, parts) {
    this.#history = history;
    this.#parts = parts;
    byId("history-clear").addEventListener("click", () => this.#guard(() => this.#remove(this.#speeches)));
    byId("history-search").addEventListener("input", () => this.#show());
    onLanguage(() => this.#show());
    onTold("history", () => this.#guard(() => this.#load()));
    this.#guard(() => this.#load());
  }

  /** Show what `keep()` writes into the history; where it cannot be written that is told. */
  async keep(keep) {
    await this.#guard(async () => {
      await keep();
      await this.#load();
    });
  }

  async #load() {
    this.#speeches = await this.#history.list();
    this.#room = await this.#history.room();
    this.#show();
  }

  #show() {
    const any = this.#speeches.length > 0;
    byId("history-clear").hidden = !any;
    byId("history-search").hidden = !any;
    this.#showRoom();
    const found = this.#found();
    const nothing = element("li", { class: "shelf-empty" }, t(any ? "history.not_found" : "history.empty"));
    byId("history").replaceChildren(...(found.length ? found.map((each) => this.#item(each)) : [nothing]));
  }

  #found() {
    const wanted = byId("history-search").value.trim().toLowerCase();
    return this.#speeches.filter((speech) => [speech.text, speech.name ?? "", ...this.#voicesOf(speech)].some((each) => each.toLowerCase().includes(wanted)));
  }

  /** What there is room for, before anything has to go. */
  #showRoom() {
    const place = byId("history-room");
    place.hidden = !this.#room;
    if (!this.#room) return;
    const { speeches, seconds, mostSeconds, lasting, nearlyFull } = this.#room;
    const used = t("history.room", { n: number(speeches), most: number(MOST_SPEECHES), time: duration(seconds), most_time: duration(mostSeconds) });
    const said = [lasting ? null : t("history.fleeting"), speeches ? used : null, nearlyFull ? t("history.nearly_full") : null];
    place.textContent = said.filter(Boolean).join(" ");
    place.classList.toggle("warning", nearlyFull || !lasting);
  }

  #item(speech) {
    const { id, text, name, partial } = speech;
    const named = { text: (name || text).slice(0, 40) };
    const button = (action, act) =>
      element("button", { type: "button", class: "quiet bare", "data-does": action, "aria-label": t(`history.${action}`, named), onclick: () => this.#guard(() => act(speech)) }, icon(action));
    const facts = [name ? text.slice(0, BEGINNING) : null, this.#voicesOf(speech).join(", "), brief(speech.seconds) ?? clock(speech.seconds), moment(speech.created)];
    return element(
      "li", { class: "kept", "data-id": id },
      element("button", { type: "button", class: "round small", "data-does": "play", "aria-label": t("history.play", named), onclick: () => this.#guard(() => this.#replay(speech)) }, icon("play")),
      picture(speech.outline),
      element(
        "div", { class: "kept-words" },
        element("p", { class: "kept-text", dir: "auto" }, name || text.slice(0, BEGINNING)),
        element(
          "p", { class: "faint kept-facts" },
          partial && element("span", { class: "badge", "data-state": partial }, t(`phase.${partial}`)),
          facts.filter(Boolean).join(" · "),
        ),
        mark(speech, this.#parts.onSpeak),
      ),
      element("div", { class: "kept-actions" }, button("name", (each) => this.#name(each)), button("reuse", this.#parts.onReuse), button("download", (each) => this.#download(each)), button("delete", (each) => this.#remove([each]))),
    );
  }

  /** Who speaks: the voice, and those of the cast. */
  #voicesOf({ voice, called = voice, wanted }) {
    const others = Object.values(wanted?.cast ?? {}).map((id) => this.#parts.nameOf(id) ?? id);
    return [...new Set([called, ...others])];
  }

  async #replay(speech) {
    this.#parts.onReplay(speech, await this.#history.samples(speech.id));
  }

  async #download(speech) {
    await save(speech, await this.#history.samples(speech.id), this.#parts.format());
  }

  /** The name is written where the text stands. */
  #name(speech) {
    const words = this.#row(speech.id).querySelector(".kept-text");
    const field = element("input", { class: "field", "aria-label": t("history.name_label"), maxlength: 80, value: speech.name ?? "", placeholder: t("history.name_label") });
    let done = false;
    const finish = async (name) => {
      if (done) return;
      done = true;
      if (name !== (speech.name ?? "")) await this.#history.rename(speech.id, name);
      await this.#load();
    };
    field.addEventListener("keydown", (event) => {
      if (!["Enter", "Escape"].includes(event.key) || event.isComposing) return;
      event.preventDefault();
      this.#guard(async () => {
        await finish(event.key === "Enter" ? field.value.trim() : (speech.name ?? ""));
        this.#row(speech.id)?.querySelector("[data-does=name]").focus();
      });
    });
    field.addEventListener("blur", () => this.#guard(() => finish(field.value.trim())));
    words.replaceChildren(field);
    field.select();
  }

  #row(id) {
    return byId("history").querySelector(`[data-id="${CSS.escape(id)}"]`);
  }

  async #remove(speeches) {
    const ids = speeches.map(({ id }) => id);
    const at = Math.max(0, this.#found().findIndex(({ id }) => id === ids[0]));
    await this.#history.remove(ids);
    await this.#load();
    const back = () => this.#guard(async () => {
      await this.#history.restore(ids);
      await this.#load();
    });
    toast(t("history.deleted", { n: number(ids.length) }), { label: t("undo"), act: back });
    const rows = byId("history").children;
    (rows[Math.min(at, rows.length - 1)].querySelector("button") ?? byId("text")).focus();
  }

  async #guard(work) {
    try {
      await work();
    } catch (error) {
      if (error instanceof GoneError) {
        notice(() => t("error.gone"));
        await this.#load();
      } else if (error instanceof DOMException) notice(() => t("error.history"));
      else explain(error);
    }
  }
}
