// What was spoken in this browser, kept in IndexedDB: words and settings in one store, sound in another.

const DATABASE = "orpheus";
const MOST_SPEECHES = 100;
const MOST_SECONDS = 3 * 3600; // about 500 MB

/** Speeches `{id, text, voice, model, wanted, created, facts, segments, seconds}`, newest first. */
export class History {
  #opened = null;

  async list() {
    const speeches = await this.#run("readonly", (store) => store("speeches").getAll());
    return speeches.sort((a, b) => b.created - a.created);
  }

  /** Keep a speech and its samples (int16); the oldest make room. Returns its id. */
  async add(speech, samples) {
    const id = crypto.randomUUID?.() ?? `${speech.created}-${Math.random()}`;
    await this.#run("readwrite", (store) => {
      store("sounds").put(samples.slice(), id);
      return store("speeches").put({ ...speech, id, seconds: speech.facts.audioSeconds });
    });
    let seconds = 0;
    for (const [place, { id: old, seconds: length }] of (await this.list()).entries()) {
      seconds += length;
      if (place > 0 && (place >= MOST_SPEECHES || seconds > MOST_SECONDS)) await this.remove(old);
    }
    return id;
  }

  /** The samples of a speech, int16. */
  samples(id) {
    return this.#run("readonly", (store) => store("sounds").get(id));
  }

  remove(id) {
    return this.#run("readwrite", (store) => {
      store("sounds").delete(id);
      return store("speeches").delete(id);
    });
  }

  clear() {
    return this.#run("readwrite", (store) => {
      store("sounds").clear();
      return store("speeches").clear();
    });
  }

  async #run(mode, work) {
    this.#opened ??= open();
    const database = await this.#opened;
    return new Promise((resolve, reject) => {
      const transaction = database.transaction(["speeches", "sounds"], mode);
      const asked = work((name) => transaction.objectStore(name));
      transaction.oncomplete = () => resolve(asked.result);
      transaction.onabort = transaction.onerror = () => reject(transaction.error);
    });
  }
}

function open() {
  return new Promise((resolve, reject) => {
    const asked = indexedDB.open(DATABASE, 1);
    asked.onupgradeneeded = () => {
      asked.result.createObjectStore("speeches", { keyPath: "id" });
      asked.result.createObjectStore("sounds");
    };
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = () => reject(asked.error);
  });
}
