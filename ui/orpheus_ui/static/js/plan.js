// What will be spoken: the server's dry run of the text, with every change and its reason.

import { planText } from "./api.js";
import { byId, element } from "./dom.js";
import { has, language, number, onLanguage, t } from "./i18n.js";
import { quoted, told } from "./notices.js";

const SETTLE_MS = 500; // while one types
const MOST_SHOWN = 200; // segments

/** What the server warns of, and the page's words for it. */
const WARNINGS = {
  "plan.not_done": /^(<.+>) has no effect; the text inside it is read\.$/s,
  "plan.only_rate": /^(<.+>) has no effect; only its rate has\.$/s,
  "plan.by_name": /^Letters that the voice has no sound for are said by their names\.$/,
};

/** Shows the plan of `request()`, and what `nameOf(id)` calls its voices, while it is open; call `look` when that has changed. */
export class Plan {
  #request;
  #nameOf;
  #plan = null;
  #error = null;
  #abort = null;
  #timer = null;

  constructor(request, nameOf) {
    this.#request = request;
    this.#nameOf = nameOf;
    byId("explain").addEventListener("click", () => this.#toggle());
    onLanguage(() => this.#show());
  }

  look() {
    if (byId("plan").hidden) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#ask(), SETTLE_MS);
  }

  #toggle() {
    const open = byId("plan").hidden;
    byId("plan").hidden = !open;
    byId("explain").setAttribute("aria-expanded", String(open));
    this.#abort?.abort();
    if (open) this.#ask();
  }

  async #ask() {
    this.#abort?.abort();
    const abort = new AbortController();
    this.#abort = abort;
    const wanted = this.#request();
    this.#plan = null;
    this.#error = null;
    try {
      if (wanted?.text.trim()) this.#plan = await planText(wanted, abort.signal);
    } catch (error) {
      if (abort.signal.aborted) return;
      this.#error = error;
    }
    if (this.#abort === abort) this.#show();
  }

  #show() {
    byId("plan-said").replaceChildren(...(this.#error ? told(this.#error) : [this.#plan ? summary(this.#plan) : t("plan.empty")]));
    const segments = this.#plan?.segments ?? [];
    const several = new Set(segments.map(({ voice }) => voice)).size > 1;
    const more = segments.length > MOST_SHOWN && element("li", { class: "faint" }, t("plan.more", { n: number(segments.length - MOST_SHOWN) }));
    byId("plan-segments").replaceChildren(...segments.slice(0, MOST_SHOWN).map((segment) => planned(segment, several && this.#nameOf(segment.voice))), ...(more ? [more] : []));
    byId("plan-warnings").replaceChildren(...(this.#plan?.warnings ?? []).flatMap((words) => [warning(words), " "]));
  }
}

function summary({ segments }) {
  const changes = segments.reduce((sum, each) => sum + each.changes.length, 0);
  return t("plan.summary", { n: number(segments.length), changes: number(changes) });
}

function planned({ text, language, pause_ms: pause, changes }, voice) {
  const facts = [voice, pause ? t("plan.pause", { time: t("unit.seconds", { n: number(pause / 1000, 2) }) }) : null];
  return element(
    "li", {},
    element("p", { dir: "auto", lang: language }, text),
    element("p", { class: "faint" }, facts.filter(Boolean).join(" · ")),
    changes.length > 0 && element("ul", { class: "changes" }, ...changes.map(changed)),
  );
}

function changed({ from, to, why }) {
  const said = to ? element("ins", { dir: "auto" }, to) : element("span", {}, t("plan.left_out"));
  return element("li", {}, element("del", { dir: "auto" }, from), " → ", said, " ", element("span", { class: "faint" }, `(${reasons(why)})`));
}

/** The page's words for a warning of the server's, `{key, blanks}`; null where it has none. */
export function ownWords(warning) {
  for (const [key, pattern] of Object.entries(WARNINGS)) {
    const found = warning.match(pattern);
    if (found) return { key, blanks: { what: found[1] } };
  }
  return null;
}

/** A warning in the page's language. */
function warning(words) {
  if (language() === "en") return words;
  const own = ownWords(words);
  return own ? t(own.key, own.blanks) : quoted(words);
}

/** The server's reasons, in the page's language where there are words. */
function reasons(why) {
  const words = (reason) => {
    const name = reason.replaceAll(" ", "_");
    return has(`plan.why.${name}`) ? t(`plan.why.${name}`) : reason;
  };
  return why.split(", ").map(words).join(t("plan.and"));
}
