// Where the history lies: IndexedDB, words and settings in one store, sound in another; or, without it, memory.

const DATABASE = "orpheus";
const HOUR = 3600;

/** In this browser, for as long as it is not deleted. */
export class Database {
  mostSeconds = 3 * HOUR; // about 500 MB
  lasting = true;
  #database;

  constructor(database) {
    this.#database = database;
  }

  all() {
    return this.#run("readonly", (store) => store("speeches").getAll());
  }

  /** The samples of a speech, int16; undefined where there are none. */
  samples(id) {
    return this.#run("readonly", (store) => store("sounds").get(id));
  }

  /** Write a speech, and its samples where they are given. */
  put(speech, samples = null) {
    return this.#run("readwrite", (store) => {
      if (samples) store("sounds").put(samples, speech.id);
      return store("speeches").put(speech);
    });
  }

  remove(ids) {
    return this.#run("readwrite", (store) => {
      for (const id of ids) {
        store("sounds").delete(id);
        store("speeches").delete(id);
      }
    });
  }

  #run(mode, work) {
    return new Promise((resolve, reject) => {
      const transaction = this.#database.transaction(["speeches", "sounds"], mode);
      const asked = work((name) => transaction.objectStore(name));
      transaction.oncomplete = () => resolve(asked?.result);
      transaction.onabort = transaction.onerror = () => reject(transaction.error);
    });
  }
}

/** Until the page is left. */
export class Memory {
  mostSeconds = HOUR / 2;
  lasting = false;
  #speeches = new Map();
  #sounds = new Map();

  async all() {
    return [...this.#speeches.values()];
  }

  async samples(id) {
    return this.#sounds.get(id);
  }

  async put(speech, samples = null) {
    this.#speeches.set(speech.id, speech);
    if (samples) this.#sounds.set(speech.id, samples);
  }

  async remove(ids) {
    for (const id of ids) {
      this.#speeches.delete(id);
      this.#sounds.delete(id);
    }
  }
}

/** The best of them that the browser gives. */
export async function openStore() {
  try {
    return new Database(await opened());
  } catch {
    return new Memory();
  }
}

function opened() {
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
