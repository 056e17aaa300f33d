// The developers' corner: the current request as a program, to copy.

import { currentKey } from "./access.js";
import { copy } from "./clipboard.js";
import { byId, element, icon, roving } from "./dom.js";
import { onLanguage, t } from "./i18n.js";
import { recall, remember } from "./remembered.js";
import { snippets } from "./snippets.js";

const COPIED_MS = 2_000;

/** Shows `request()`; call `show` when it may have changed. */
export class Developers {
  #request;
  #name = recall("snippet", "curl");
  #tabs = element("div", { class: "tabs", role: "tablist" });
  #code = element("code");
  #copy = element("button", { type: "button", class: "quiet with-icon copy", onclick: () => this.#onCopy() });
  #said = element("span", { class: "unseen", role: "status" });

  constructor(request) {
    this.#request = request;
    const panel = element("pre", { role: "tabpanel", id: "snippet", tabindex: "0" }, this.#code);
    byId("developers").append(element("div", { class: "row spread" }, this.#tabs, this.#copy), panel, this.#said);
    roving(this.#tabs, () => [...this.#tabs.children], (tab) => this.#open(tab.dataset.name));
    onLanguage(() => this.show());
  }

  show() {
    this.#copy.replaceChildren(icon("copy"), t("developers.copy"));
    const request = this.#request();
    this.#copy.disabled = !request;
    if (!request) return;
    const base = document.baseURI.replace(/\/[^/]*$/, "");
    const programs = snippets(request, base, currentKey() !== null);
    this.#tabs.setAttribute("aria-label", t("developers.languages"));
    const tabs = Object.keys(programs).map((name) => this.#tab(name));
    if (this.#tabs.childElementCount === 0) this.#tabs.append(...tabs);
    this.#code.textContent = programs[this.#name];
    byId("snippet").setAttribute("aria-labelledby", `snippet-${this.#name}`);
  }

  #tab(name) {
    const selected = name === this.#name;
    const attributes = {
      type: "button", role: "tab", class: "tab", id: `snippet-${name}`, "data-name": name, "aria-controls": "snippet",
      "aria-selected": String(selected), tabindex: selected ? "0" : "-1", onclick: () => this.#open(name),
    };
    return element("button", attributes, name);
  }

  #open(name) {
    this.#name = name;
    remember("snippet", name);
    for (const tab of this.#tabs.children) {
      const selected = tab.dataset.name === name;
      tab.setAttribute("aria-selected", String(selected));
      tab.tabIndex = selected ? 0 : -1;
    }
    this.show();
  }

  async #onCopy() {
    if (!(await copy(this.#code.textContent))) {
      getSelection().selectAllChildren(this.#code);
      return;
    }
    this.#copy.replaceChildren(icon("check"), t("developers.copied"));
    this.#said.textContent = t("developers.copied");
    setTimeout(() => {
      this.#said.textContent = "";
      this.show();
    }, COPIED_MS);
  }
}
