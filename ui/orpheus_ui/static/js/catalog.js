// What the server offers, and in which state each model is at this moment.

import { fetchModels, fetchStatus } from "./api.js";

const REFRESH_MS = 150; // several events come at once

/** Dispatches `change` when a model's state has, `load` when the offer itself was read anew. */
export class Catalog extends EventTarget {
  offer = null;
  status = null;
  /** When `status` came, on performance's clock. */
  statusAt = 0;
  #refresh = null;

  /** Read the offer. */
  async load() {
    this.offer = await fetchModels();
    this.dispatchEvent(new Event("load"));
    this.dispatchEvent(new Event("change"));
  }

  /** Take what the server tells: its events, from `events`. */
  follow(events) {
    events.addEventListener("status", ({ detail }) => this.#take(detail));
    events.addEventListener("model.state", ({ detail }) => {
      const known = this.live(detail.model);
      if (known) known.state = detail.state;
      this.dispatchEvent(new Event("change"));
      this.#refreshSoon();
    });
    for (const name of ["speech.started", "speech.ended"]) events.addEventListener(name, () => this.#refreshSoon());
  }

  /** Ask for the status now. */
  async refresh() {
    this.#take(await fetchStatus());
  }

  model(id) {
    return this.offer.models.find((model) => model.id === id);
  }

  voice(id) {
    return this.offer.voices.find((voice) => voice.id === id);
  }

  /** Models to choose from: the sizes and the preview, if a voice is there for them; languages come by themselves with it. */
  get choices() {
    const size = (model) => !model.family || model.family === model.id;
    return this.offer.models.filter((model) => size(model) && this.voicesOf(model.id).known.length > 0);
  }

  /** The model that speaks with `voice` when `id` is chosen, as the server decides it; undefined: none. */
  speaking(id, voice) {
    const chosen = this.model(id);
    if (!chosen || chosen.voices.includes(voice)) return chosen;
    return this.offer.models.find(({ family, voices }) => family === chosen.family && voices.includes(voice));
  }

  /** The voices that the model `id`, or a sibling of its family, knows: `{known, usable}`, usable where that model is here. */
  voicesOf(id) {
    const known = this.offer.voices.filter((voice) => this.speaking(id, voice.id));
    const usable = known.filter((voice) => this.speaking(id, voice.id).status === "available");
    return { known, usable: usable.length ? usable : known };
  }

  /** What the server's manager knows of a model; undefined for one that was never asked for. */
  live(id) {
    return this.status?.models.find((model) => model.id === id);
  }

  /** One word for a model: coming_soon, unavailable, on_demand, loading, ready, asleep, unloading or failed. */
  state(model) {
    if (model.status !== "available") return model.status;
    const state = this.live(model.id)?.state ?? "unloaded";
    return state === "unloaded" ? "on_demand" : state;
  }

  #take(status) {
    this.status = status;
    this.statusAt = performance.now();
    this.dispatchEvent(new Event("change"));
  }

  #refreshSoon() {
    clearTimeout(this.#refresh);
    this.#refresh = setTimeout(() => this.refresh().catch(() => {}), REFRESH_MS);
  }
}
