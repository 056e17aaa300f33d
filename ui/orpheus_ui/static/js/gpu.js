// The GPU panel: each card live, the models that are loaded, and the button that takes them off.

import { offload } from "./api.js";
import { MinuteChart } from "./chart.js";
import { byId, element } from "./dom.js";
import { duration, gibibytes, language, number, onLanguage, t } from "./i18n.js";
import { badge, shortTitle, title } from "./models.js";
import { confirmed, explain, quoted } from "./notices.js";
import { Pull } from "./pull.js";

const HELD = new Set(["loading", "ready", "asleep", "unloading", "failed"]);

/** Shows what the events tell. */
export class GPUPanel {
  #catalog;
  #cards = new Map();
  #list = element("div", { class: "cards" });
  #none = element("div", { class: "none" });
  #models = element("ul", { class: "loaded", "data-i18n-aria-label": "gpu.models" });
  #signature = null;

  constructor(catalog, events) {
    this.#catalog = catalog;
    byId("gpu").append(this.#list, this.#none, new Pull(catalog, events).node, this.#models);
    events.addEventListener("gpu.sample", ({ detail }) => this.#sample(detail.gpus));
    events.addEventListener("status", ({ detail }) => this.#sample(detail.gpus));
    catalog.addEventListener("change", () => this.#show());
    setInterval(() => this.#countDown(), 1000);
    onLanguage(() => {
      this.#signature = null;
      this.#models.setAttribute("aria-label", t("gpu.models"));
      this.#cards.clear();
      this.#list.replaceChildren();
      this.#show();
    });
  }

  #show() {
    const { status, offer } = this.#catalog;
    if (!status || !offer) return;
    this.#none.hidden = status.gpus.length > 0;
    this.#none.replaceChildren(...(status.gpus.length ? [] : this.#withoutGPU(status)));
    const held = status.models.filter((model) => HELD.has(model.state));
    const facts = held.map(({ idle_seconds: _, unload_in_seconds: __, ...facts }) => facts);
    const signature = JSON.stringify([facts, status.admin, status.gpus.length]);
    if (signature !== this.#signature) {
      this.#signature = signature;
      const focused = this.#models.querySelector(":focus")?.dataset.release;
      const idle = element("li", { class: "faint" }, t("gpu.nothing_loaded"));
      this.#models.replaceChildren(...(held.length ? held.map((model) => this.#loaded(model)) : [idle]));
      if (focused) this.#models.querySelector(`[data-release="${CSS.escape(focused)}"]`)?.focus();
    }
    this.#countDown();
  }

  #withoutGPU(status) {
    const { offer } = this.#catalog;
    if (offer.models.find(({ id }) => id === status.default_model)?.engine !== "preview") {
      return [element("p", { class: "lead" }, t("gpu.none")), element("p", {}, t("gpu.none_orpheus"))];
    }
    const ways = ["gpu.way_machine", "gpu.way_remote", "gpu.way_container"];
    return [
      element("p", { class: "lead" }, t("gpu.none")),
      element("p", {}, t("gpu.none_meaning")),
      element("ul", { class: "ways" }, ...ways.map((key) => element("li", {}, t(key)))),
      status.gpu_error && language() === "en" && element("p", { class: "faint" }, t("gpu.error"), " ", quoted(status.gpu_error)),
    ].filter(Boolean);
  }

  #sample(gpus) {
    const now = performance.now();
    for (const gpu of gpus) {
      if (!this.#cards.has(gpu.index)) {
        const card = new Card(gpu);
        this.#cards.set(gpu.index, card);
        this.#list.append(card.node);
      }
      this.#cards.get(gpu.index).show(gpu, now);
    }
  }

  #loaded(status) {
    const model = this.#catalog.model(status.id);
    const loaded = ["ready", "asleep"].includes(status.state);
    const busy = status.leases ? t("gpu.streams", { n: status.leases }) : t("gpu.idle");
    const engine = status.engine?.replace(/, [\d.]+ × real time$/, ""); // which is said in the page's words
    const speed = status.real_time_factor ? t("gpu.speed", { n: number(1 / status.real_time_factor, 1) }) : null;
    const facts = [loaded ? busy : null, loaded ? engine : null, speed, status.waiting ? t("gpu.waiting", { n: status.waiting }) : null, status.memory_bytes ? gibibytes(status.memory_bytes) : null];
    return element(
      "li", { class: "loaded-model" },
      element("div", { class: "row spread" }, element("span", { class: "loaded-name" }, model ? shortTitle(model) : status.id), badge(status.state === "unloaded" ? "on_demand" : status.state)),
      element("div", { class: "row spread" }, element("div", { class: "faint" }, element("p", {}, ...(status.error ? [t("gpu.failed"), " ", quoted(status.error)] : [facts.filter(Boolean).join(" · ")])), element("p", { class: "countdown", "data-leaves": status.id })), loaded && this.#takesRoom(status.id) && this.#releaseButton(status.id, model)),
      status.advice && element("p", { class: "hint warning" }, language() === "en" ? status.advice : t("gpu.too_slow")),
    );
  }

  /** Freeing the GPU is for admins; who is none sees that, not a button that will be refused. */
  #releaseButton(id, model) {
    if (!this.#catalog.status.admin) return element("p", { class: "faint admins" }, t("gpu.admins_release"));
    const label = t("gpu.release_model", { model: model ? title(model) : id });
    return element("button", { type: "button", class: "quiet", "data-release": id, "aria-label": label, onclick: () => this.#release(id) }, t("gpu.release"));
  }

  /** Where there is no GPU, releasing the preview would free nothing. */
  #takesRoom(id) {
    return this.#catalog.status.gpus.length > 0 || this.#catalog.model(id)?.engine !== "preview";
  }

  #countDown() {
    const { status, statusAt } = this.#catalog;
    for (const place of this.#models.querySelectorAll("[data-leaves]")) {
      const model = status.models.find(({ id }) => id === place.dataset.leaves);
      const left = model?.unload_in_seconds == null ? null : model.unload_in_seconds - (performance.now() - statusAt) / 1000;
      const words = !this.#takesRoom(place.dataset.leaves) ? "" : model?.pinned ? t("gpu.pinned") : left === null || model.leases ? "" : t("gpu.leaves_in", { time: duration(Math.max(0, Math.round(left))) });
      if (place.textContent !== words) place.textContent = words;
    }
  }

  async #release(id) {
    const status = this.#catalog.live(id);
    const busy = status?.leases > 0;
    const question = t("gpu.release_question", { n: status?.leases, model: shortTitle(this.#catalog.model(id)) });
    if (busy && !(await confirmed(question, t("gpu.release")))) return;
    try {
      await offload(id, busy);
      await this.#catalog.refresh();
    } catch (error) {
      explain(error);
    }
  }
}

/** One card of NVIDIA's. */
class Card {
  node;
  #memory = element("span");
  #meter = element("meter", { min: 0, max: 1 });
  #facts = element("p", { class: "faint" });
  #chart = new MinuteChart();

  constructor(gpu) {
    this.#meter.setAttribute("aria-label", t("gpu.memory"));
    this.#chart.label = t("gpu.chart");
    this.node = element(
      "div", { class: "gpu-card" },
      element("div", { class: "row spread" }, element("span", { class: "gpu-name" }, t("gpu.card", { n: gpu.index, name: gpu.name ?? "" })), this.#memory),
      this.#meter,
      this.#chart.node,
      this.#facts,
    );
  }

  show(gpu, now) {
    const { memory_used: used, memory_total: total } = gpu;
    const share = total ? used / total : 0;
    this.#memory.textContent = total ? t("gpu.memory_of", { used: gibibytes(used), total: gibibytes(total) }) : "";
    this.#meter.value = share;
    this.#chart.push(share, now);
    this.#facts.textContent = [
      gpu.utilization == null ? null : t("gpu.utilization", { n: number(gpu.utilization) }),
      gpu.temperature_c == null ? null : t("gpu.temperature", { n: number(gpu.temperature_c) }),
      gpu.power_watts == null ? null : t("gpu.power", { n: number(gpu.power_watts) }),
    ].filter(Boolean).join(" · ");
  }
}
