// What the page remembers of a person's choices: in this browser, or in this tab alone. Where the browser gives no
// storage, it remembers until the page is left.

const PREFIX = "orpheus.";

/** JSON values by name, in a `Storage` that may be missing, forbidden or full. */
export class Remembered {
  #open;
  #unkept = new Map();

  /** `open()` gives the Storage; it may throw. */
  constructor(open) {
    this.#open = open;
  }

  /** The value kept under `name`, else `fallback`. */
  recall(name, fallback) {
    if (this.#unkept.has(name)) return this.#unkept.get(name);
    try {
      const kept = this.#open().getItem(PREFIX + name);
      return kept === null ? fallback : JSON.parse(kept);
    } catch {
      return fallback;
    }
  }

  /** Keep a value that JSON can hold. */
  remember(name, value) {
    try {
      this.#open().setItem(PREFIX + name, JSON.stringify(value));
      this.#unkept.delete(name);
    } catch {
      this.#unkept.set(name, value);
    }
  }

  forget(name) {
    this.#unkept.delete(name);
    try {
      this.#open().removeItem(PREFIX + name);
    } catch {
      // nothing was kept there
    }
  }

  /** The names that begin with `beginning`. */
  names(beginning) {
    const found = new Set(this.#unkept.keys());
    try {
      for (const key of Object.keys(this.#open())) if (key.startsWith(PREFIX)) found.add(key.slice(PREFIX.length));
    } catch {
      // nothing was kept there
    }
    return [...found].filter((name) => name.startsWith(beginning));
  }
}

/** For this browser, and for this tab. */
export const everywhere = new Remembered(() => localStorage);
export const here = new Remembered(() => sessionStorage);

export const recall = (name, fallback) => everywhere.recall(name, fallback);
export const remember = (name, value) => everywhere.remember(name, value);
