// What was spoken in this browser: the newest hundred, or three hours. What is deleted can be brought back for a while.

import { openStore } from "./stored.js";

export const MOST_SPEECHES = 100;
const NEARLY_FULL = 0.9;
const DELETED_MS = 5 * 60_000;

/** A speech that is asked for is not there any more. */
export class GoneError extends Error {}

/** Speeches `{id, text, name, voice, model, wanted, created, facts, segments, seconds, partial}`, newest first. */
export class History {
  #opening;
  #open;
  #changed;
  #now;
  #making = new Set();

  /** `changed()` is called when it has; `open()` gives the store. */
  constructor(changed, open = openStore, now = Date.now) {
    this.#changed = changed;
    this.#open = open;
    this.#now = now;
  }

  async list() {
    return (await this.#all()).filter(({ id, deleted }) => !deleted && !this.#making.has(id));
  }

  /** How much room there is: `{speeches, seconds, mostSeconds, lasting, nearlyFull}`. */
  async room() {
    const [{ mostSeconds, lasting }, kept] = [await this.#store, await this.list()];
    const seconds = kept.reduce((sum, each) => sum + each.seconds, 0);
    const nearlyFull = Math.max(kept.length / MOST_SPEECHES, seconds / mostSeconds) >= NEARLY_FULL;
    return { speeches: kept.length, seconds, mostSeconds, lasting, nearlyFull };
  }

  /** A speech begins to be made here; its id. Until it is finished it stands in the history of other tabs only. */
  begin() {
    const id = globalThis.crypto?.randomUUID?.() ?? `${this.#now()}-${Math.random()}`;
    this.#making.add(id);
    return id;
  }

  /** Write down a speech that is being made, with the samples (int16) that have come since `at` of them were there. */
  async write(id, speech, samples, at) {
    const store = await this.#store;
    const alter = (found) => (found || at === 0 ? { ...found, ...speech, id, seconds: speech.facts.audioSeconds } : null);
    const piece = samples.length ? { at, samples: samples.slice() } : null;
    try {
      await store.change(id, alter, piece);
    } catch (error) {
      if (error.name !== "QuotaExceededError") throw error;
      await this.#purge(() => true);
      await store.change(id, alter, piece);
    }
    if (at === 0) this.#changed();
  }

  /** As `write`, for the last time; the oldest make room. */
  async finish(id, speech, samples, at) {
    this.#making.delete(id);
    await this.write(id, speech, samples, at);
    const store = await this.#store;
    await this.#purge(({ deleted }) => this.#now() - deleted > DELETED_MS);
    let seconds = 0;
    const over = (await this.list()).filter((each, place) => {
      seconds += each.seconds;
      return place > 0 && (place >= MOST_SPEECHES || seconds > store.mostSeconds);
    });
    await store.remove(over.map((each) => each.id));
    this.#changed();
  }

  /** The samples of a speech, int16. Throws GoneError. */
  async samples(id) {
    const samples = await (await this.#store).samples(id);
    if (!samples) throw new GoneError();
    return samples;
  }

  /** Call a speech by a name; "" takes it away. */
  rename(id, name) {
    return this.#alter([id], { name });
  }

  /** Delete speeches; `restore` brings them back for five minutes. */
  remove(ids) {
    return this.#alter(ids, { deleted: this.#now() });
  }

  restore(ids) {
    return this.#alter(ids, { deleted: null });
  }

  async #alter(ids, values) {
    const store = await this.#store;
    for (const id of ids) await store.change(id, (found) => found && { ...found, ...values });
    this.#changed();
  }

  async #all() {
    return (await (await this.#store).all()).sort((a, b) => b.created - a.created);
  }

  async #purge(goes) {
    const going = (await this.#all()).filter((each) => each.deleted && goes(each));
    await (await this.#store).remove(going.map(({ id }) => id));
  }

  get #store() {
    return (this.#opening ??= this.#open());
  }
}
