// The text to speak: its box, counter, emotion tags and examples, and the sentence that sounds, marked in it.

import { byId, element } from "./dom.js";
import { has, number, onLanguage, t } from "./i18n.js";
import { recall, remember } from "./remembered.js";

const NEARLY_FULL = 0.9;

/** Dispatches `change` when the text has. */
export class Composer extends EventTarget {
  #box = byId("text");
  #mirror = byId("mirror");
  #limit = Infinity;
  #marked = null;
  #tags = [];

  constructor() {
    super();
    this.#box.value = recall("text", "");
    this.#box.addEventListener("input", () => this.#changed());
    this.#box.addEventListener("scroll", () => (this.#mirror.scrollTop = this.#box.scrollTop));
    onLanguage(() => {
      this.#count();
      this.#showTags();
    });
  }

  get text() {
    return this.#box.value;
  }

  set text(text) {
    this.#box.value = text;
    this.#changed();
  }

  /** What the server allows: characters in one request, and tags by name. */
  allow(limit, tags) {
    this.#limit = limit;
    this.#tags = tags;
    this.#count();
    this.#showTags();
  }

  /** Whether there is something to speak, and not too much. */
  get speakable() {
    return this.text.trim() !== "" && this.#length <= this.#limit;
  }

  focus() {
    this.#box.focus();
  }

  /** Offer `examples`, `[{name, text}]`, in a language. */
  offer(examples, language) {
    byId("examples").replaceChildren(
      ...examples.map(({ name, text }) =>
        element("button", { type: "button", class: "chip", onclick: () => this.#take(text) }, t(`example.${name}`)),
      ),
    );
    this.#box.lang = language;
  }

  /** Mark the range `{start, end}` of the text, or nothing. */
  mark(range) {
    const same = range?.start === this.#marked?.start && range?.end === this.#marked?.end;
    if (same) return;
    this.#marked = range;
    this.#mirror.replaceChildren();
    if (!range) return;
    const sounding = element("mark", {}, this.text.slice(range.start, range.end));
    this.#mirror.append(this.text.slice(0, range.start), sounding, this.text.slice(range.end), "\n");
    this.#bringIntoView(sounding);
  }

  #bringIntoView(sounding) {
    const { offsetTop: top, offsetHeight: height } = sounding;
    const view = this.#box.clientHeight;
    if (top < this.#box.scrollTop || top + height > this.#box.scrollTop + view) {
      this.#box.scrollTop = Math.max(0, top - Math.max(0, view - height) / 2);
    }
    this.#mirror.scrollTop = this.#box.scrollTop;
  }

  #take(text) {
    this.text = text;
    this.focus();
  }

  #insert(tag) {
    this.focus();
    const { selectionStart: at, value } = this.#box;
    const before = at > 0 && !/\s/.test(value[at - 1]) ? " " : "";
    const after = /\s/.test(value[this.#box.selectionEnd] ?? "") ? "" : " ";
    this.#box.setRangeText(`${before}<${tag}>${after}`, at, this.#box.selectionEnd, "end");
    this.#changed();
  }

  #showTags() {
    const name = (tag) => (has(`tag.${tag}`) ? t(`tag.${tag}`) : tag);
    byId("tags").replaceChildren(
      ...this.#tags.map((tag) =>
        element("button", { type: "button", class: "chip tag", onclick: () => this.#insert(tag) }, name(tag)),
      ),
    );
  }

  /** As the server counts them: code points. */
  get #length() {
    return [...this.text].length;
  }

  #changed() {
    this.mark(null);
    remember("text", this.text);
    this.#count();
    this.dispatchEvent(new Event("change"));
  }

  #count() {
    if (this.#limit === Infinity) return;
    const counter = byId("counter");
    const left = this.#limit - this.#length;
    const key = left < 0 ? "text.too_long" : "text.count";
    counter.textContent = t(key, { n: number(this.#length), left: number(Math.abs(left)) });
    counter.classList.toggle("warning", left < this.#limit * (1 - NEARLY_FULL));
    this.#box.setAttribute("aria-invalid", String(left < 0));
  }
}
