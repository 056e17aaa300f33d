// A model's file for this machine: what it would take, its way here, and the button that breaks it off.

import { breakOffDownload, offerDownload, startDownload } from "./api.js";
import { element } from "./dom.js";
import { gibibytes, onLanguage, t } from "./i18n.js";
import { shortTitle } from "./models.js";
import { confirmed, explain, quoted } from "./notices.js";

/** Offers the file of the first size of Orpheus, where none speaks here yet, and follows what is on its way. */
export class Pull {
  node = element("div", { class: "pull", hidden: true });
  #catalog;
  #shown = null;

  constructor(catalog, events) {
    this.#catalog = catalog;
    catalog.addEventListener("change", () => this.#show());
    events.addEventListener("model.download", ({ detail }) => this.#take(detail));
    onLanguage(() => {
      this.#shown = null;
      this.#show();
    });
  }

  #take(download) {
    const { status } = this.#catalog;
    if (!status) return;
    status.downloads = [...(status.downloads ?? []).filter(({ model }) => model !== download.model), download];
    this.#show();
    if (download.state === "done") this.#catalog.load().catch(() => {});
  }

  #show() {
    const { offer, status } = this.#catalog;
    if (!offer || !status) return;
    const ours = offer.models.filter(({ engine }) => engine !== "preview");
    const missing = ours.some(({ status: state }) => state === "available") ? null : ours.find(({ status: state }) => state === "unavailable");
    const running = status.downloads?.find(({ state }) => state === "running");
    const known = running ?? status.downloads?.at(-1);
    const told = JSON.stringify([missing?.id, known, status.admin]);
    if (told === this.#shown) return;
    const bar = this.node.querySelector("progress");
    this.#shown = told;
    this.node.hidden = !known && !(missing && status.admin);
    if (running && bar) {
      bar.value = running.done_bytes;
      this.node.querySelector("p").textContent = progress(running);
      return;
    }
    this.node.replaceChildren(...(running ? this.#onItsWay(running) : [ended(known), missing && status.admin && this.#offer(missing)].filter(Boolean)));
  }

  #onItsWay(download) {
    const bar = element("progress", { max: download.bytes, value: download.done_bytes, "aria-label": t("pull.progress") });
    const stop = () => this.#guard(async () => this.#take(await breakOffDownload(download.model)));
    return [element("p", {}, progress(download)), bar, element("button", { type: "button", class: "quiet", onclick: stop }, t("pull.cancel"))];
  }

  #offer(model) {
    return element("button", { type: "button", class: "quiet", onclick: () => this.#guard(() => this.#ask(model)) }, t("pull.offer", { model: shortTitle(model) }));
  }

  /** The size is said first. */
  async #ask(model) {
    const { name, bytes, free_bytes: free } = await offerDownload(model.id);
    const question = t("pull.question", { name, size: gibibytes(bytes), free: gibibytes(free) });
    if (await confirmed(question, t("pull.start"))) this.#take(await startDownload(model.id));
  }

  async #guard(work) {
    try {
      await work();
    } catch (error) {
      explain(error);
    }
  }
}

const progress = ({ name, bytes, done_bytes: done }) => t("pull.on_its_way", { name, done: gibibytes(done), size: gibibytes(bytes) });

/** How the last download ended. */
function ended(download) {
  if (!download) return null;
  const { state, name, message } = download;
  return element("p", { class: "faint" }, t(`pull.${state}`, { name }), message && " ", message && quoted(message));
}
