// The text to speak: its box, counter, emotion tags and examples, and the sentence that sounds, marked in it.

import { byId, element } from "./dom.js";
import { has, number, onLanguage, t } from "./i18n.js";
import { Drafts } from "./drafts.js";
import { toast } from "./notices.js";
import { everywhere, here } from "./remembered.js";

const NEARLY_FULL = 0.9;

/** Dispatches `change` when the text has. */
export class Composer extends EventTarget {
  #box = byId("text");
  #mirror = byId("mirror");
  #limit = Infinity;
  #marked = null;
  #sounding = null;
  #tags = [];
  #drafts = new Drafts(everywhere, here);
  #offered = new Set();

  constructor() {
    super();
    const typed = this.#box.value; // while the page was on its way
    const kept = this.#drafts.open();
    this.#box.value = typed || kept;
    this.#box.addEventListener("input", () => this.#changed());
    addEventListener("pagehide", () => this.#drafts.release(this.text));
    addEventListener("pageshow", ({ persisted }) => persisted && this.#drafts.keep(this.text));
    this.#box.addEventListener("scroll", () => (this.#mirror.scrollTop = this.#box.scrollTop));
    onLanguage(() => {
      this.#count();
      this.#showTags();
    });
  }

  get text() {
    return this.#box.value;
  }

  /** Put a text in place of what is there, which the browser's own undo brings back, and a button. */
  replace(text) {
    const before = this.text;
    if (text === before) return;
    this.#type(text, 0, before.length);
    if (!before.trim() || this.#offered.has(before)) return;
    toast(t("text.replaced"), { label: t("undo"), act: () => this.#type(before, 0, this.text.length) });
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

  /** Whether the text asks for an emotion. */
  get tagged() {
    return this.#tags.some((tag) => this.text.includes(`<${tag}>`));
  }

  /** Offer `examples`, `[{name, text}]`, in a language. */
  offer(examples, language) {
    this.#offered = new Set(examples.map(({ text }) => text));
    byId("examples").replaceChildren(
      ...examples.map(({ name, text }) =>
        element("button", { type: "button", class: "chip", onclick: () => this.replace(text) }, t(`example.${name}`)),
      ),
    );
    this.#box.lang = language;
  }

  /** Mark the range `{start, end}` of the text, and in it a word, or nothing. */
  mark(range, word = null) {
    if (!same(range, this.#marked)) {
      this.#marked = range;
      this.#sounding = null;
      this.#mirror.replaceChildren();
      if (!range) return;
      const sounding = element("mark", {}, this.text.slice(range.start, range.end));
      this.#mirror.append(this.text.slice(0, range.start), sounding, this.text.slice(range.end), "\n");
      this.#bringIntoView(sounding);
    }
    if (range && !same(word, this.#sounding)) this.#markWord(range, word);
  }

  /** Within the mark, whose text stays as it is. */
  #markWord(range, word) {
    this.#sounding = word;
    const [from, to] = word ? [Math.max(range.start, word.start), Math.min(range.end, word.end)] : [range.start, range.start];
    const text = (start, end) => this.text.slice(start, end);
    const parts = to > from ? [text(range.start, from), element("span", { class: "word" }, text(from, to)), text(to, range.end)] : [text(range.start, range.end)];
    this.#mirror.querySelector("mark").replaceChildren(...parts);
  }

  #bringIntoView(sounding) {
    const { offsetTop: top, offsetHeight: height } = sounding;
    const view = this.#box.clientHeight;
    if (top < this.#box.scrollTop || top + height > this.#box.scrollTop + view) {
      this.#box.scrollTop = Math.max(0, top - Math.max(0, view - height) / 2);
    }
    this.#mirror.scrollTop = this.#box.scrollTop;
  }

  /** Type in place of a range, as a person would: only so is it in the browser's undo. */
  #type(text, start, end) {
    this.focus();
    this.#box.setSelectionRange(start, end);
    const typed = document.execCommand(text ? "insertText" : "delete", false, text);
    if (!typed) this.#box.setRangeText(text, start, end, "end");
    this.#changed();
  }

  #insert(tag) {
    const { selectionStart: at, selectionEnd: end, value } = this.#box;
    const before = at > 0 && !/\s/.test(value[at - 1]) ? " " : "";
    const after = /\s/.test(value[end] ?? "") ? "" : " ";
    this.#type(`${before}<${tag}>${after}`, at, end);
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
    this.#drafts.keep(this.text);
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

const same = (one, other) => one?.start === other?.start && one?.end === other?.end;
