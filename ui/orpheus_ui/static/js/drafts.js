// The text of each tab, kept as it is written: a tab has its own, and a new tab takes up what a closed one left.

const MOST = 12;
const ABANDONED_MS = 12 * 3600_000; // a tab that died could not say that it let go

/** One tab's draft; `everywhere` and `here` remember for the browser and for the tab. */
export class Drafts {
  #everywhere;
  #here;
  #now;
  #id;

  constructor(everywhere, here, now = Date.now) {
    this.#everywhere = everywhere;
    this.#here = here;
    this.#now = now;
  }

  /** The text that this tab begins with: its own, else the newest that no tab has any more, else none. */
  open() {
    const id = this.#here.recall("draft", null);
    const own = id && this.#everywhere.recall(name(id), null);
    if (own && !own.open) return this.#take(id, own.text);
    const text = own?.text ?? this.#here.recall("text", null); // open elsewhere: this tab is a copy of that one
    if (text !== null) return this.#take(newId(), text);
    const [left] = this.#all().filter(({ open, at }) => !open || this.#now() - at > ABANDONED_MS);
    return left ? this.#take(left.id, left.text) : this.#take(newId(), "");
  }

  /** Keep the text as it is now. */
  keep(text) {
    this.#here.remember("text", text);
    this.#write(text, true);
  }

  /** The tab is closed, or loaded anew: who comes next may have the text. */
  release(text) {
    if (text.trim()) this.#write(text, false);
    else this.#everywhere.forget(name(this.#id));
    for (const { id } of this.#all().slice(MOST)) this.#everywhere.forget(name(id));
  }

  #take(id, text) {
    this.#id = id;
    this.#here.remember("draft", id);
    this.keep(text);
    return text;
  }

  #write(text, open) {
    this.#everywhere.remember(name(this.#id), { text, open, at: this.#now() });
  }

  /** All drafts, newest first. */
  #all() {
    const found = this.#everywhere.names("draft.").map((key) => ({ id: key.slice("draft.".length), ...this.#everywhere.recall(key, {}) }));
    return found.sort((a, b) => b.at - a.at);
  }
}

const name = (id) => `draft.${id}`;
const newId = () => Math.random().toString(36).slice(2);
