// Takes of one text side by side: the same words, voice and settings, drawn again with another seed.

import { byId, element } from "./dom.js";
import { onLanguage, t } from "./i18n.js";

const MOST = 5;

/** Shows the takes of what is listened to; `choose(speech, samples)` puts one in the player. */
export class Takes {
  #takes = [];
  #shown = null;
  #choose;

  constructor(choose) {
    this.#choose = choose;
    onLanguage(() => this.#show());
  }

  /** One more speech, whole; another text, voice or setting begins anew. */
  add(speech, samples) {
    if (kind(speech) !== kind(this.#takes[0]?.speech)) this.#takes = [];
    const number = (this.#takes.at(-1)?.number ?? 0) + 1;
    this.#takes = [...this.#takes, { speech, samples, number }].slice(-MOST);
    this.#shown = number;
    this.#show();
  }

  #show() {
    byId("takes").hidden = this.#takes.length < 2;
    byId("takes").replaceChildren(
      ...this.#takes.map(({ speech, samples, number }) => {
        const { seed } = speech.wanted;
        const label = t(seed == null ? "takes.take" : "takes.take_seed", { n: number, seed });
        const choose = () => {
          this.#shown = number;
          this.#show();
          byId("takes").querySelector("[aria-pressed=true]").focus();
          this.#choose(speech, samples);
        };
        return element("button", { type: "button", class: "chip", "aria-pressed": String(number === this.#shown), onclick: choose }, label);
      }),
    );
  }
}

/** What takes have in common. */
const kind = (speech) => speech && JSON.stringify({ ...speech.wanted, seed: null });
