// Where the history lies: IndexedDB, words and settings in one store, sound in another, in pieces; or, without it, memory.

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
  async samples(id) {
    return joined(await this.#run("readonly", (store) => store("sounds").getAll(piecesOf(id))));
  }

  /**
   * Write what `alter(speech)` makes of the speech of that id, which is undefined where there is none; null: nothing.
   * With it a `piece` of its sound, `{at, samples}`, `at` being how many samples come before.
   */
  change(id, alter, piece = null) {
    return this.#run("readwrite", (store) => {
      const asked = store("speeches").get(id);
      asked.onsuccess = () => {
        const altered = alter(asked.result);
        if (!altered) return;
        store("speeches").put(altered);
        if (piece) store("sounds").put(piece.samples, [id, piece.at]);
      };
    });
  }

  remove(ids) {
    return this.#run("readwrite", (store) => {
      for (const id of ids) {
        store("sounds").delete(piecesOf(id));
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
    return joined(this.#sounds.get(id) ?? []);
  }

  async change(id, alter, piece = null) {
    const altered = alter(this.#speeches.get(id));
    if (!altered) return;
    this.#speeches.set(id, altered);
    if (piece) this.#sounds.set(id, [...(this.#sounds.get(id) ?? []), piece.samples]);
  }

  async remove(ids) {
    for (const id of ids) {
      this.#speeches.delete(id);
      this.#sounds.delete(id);
    }
  }
}

/** The keys of a speech's pieces: an array sorts behind every number. */
const piecesOf = (id) => IDBKeyRange.bound([id], [id, []]);

function joined(pieces) {
  if (pieces.length < 2) return pieces[0];
  const whole = new Int16Array(pieces.reduce((length, piece) => length + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
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
