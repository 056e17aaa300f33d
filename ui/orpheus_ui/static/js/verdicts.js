// What was not spoken as it should be, of a speech: where, why, and the button that speaks it again.

import { element } from "./dom.js";
import { has, number, t } from "./i18n.js";
import { turnAt } from "./speakers.js";

const BEGINNING = 80; // characters of a segment
const MOST_SHOWN = 50;

/** Those of `[{verdict, start, end, tries}]` that are not plainly "ok", the ones to listen to first. */
export function notable(verdicts) {
  const found = (verdicts ?? []).filter(({ verdict }) => verdict !== "ok");
  return found.toSorted((a, b) => weight(a) - weight(b));
}

/** What need not be listened to again: it was mended before anybody heard it, or nobody could look for its words. */
const LIGHT = ["retried", "unchecked"];
const weight = ({ verdict }) => LIGHT.indexOf(verdict);

/** A part of a speech as a request of its own, by whoever said it; places are counted in characters (code points). */
export function again({ text, wanted }, { start, end }) {
  const points = [...text];
  const before = points.slice(0, start).join("");
  const said = points.slice(start, end).join("").trim();
  const { seed: _, ...others } = wanted;
  return { ...others, text: wanted.cast ? turnAt(before, Object.keys(wanted.cast)) + said : said };
}

/** The mark of a speech, which opens what it is about; null for one in which all is well. `speak(wanted)` speaks. */
export function mark(speech, speak) {
  const found = notable(speech.verification);
  if (!found.length) return null;
  const [{ verdict: worst }] = found;
  const state = LIGHT.includes(worst) ? worst : "suspect";
  const alike = found.filter(({ verdict }) => (LIGHT.includes(verdict) ? verdict : "suspect") === state).length;
  const words = t({ suspect: "verdict.doubtful", retried: "verdict.retried_only", unchecked: "verdict.unchecked_only" }[state], { n: number(alike) });
  return element(
    "details", { class: "verdicts" },
    element("summary", {}, element("span", { class: "badge", "data-state": state }, words)),
    element("ul", {}, ...found.slice(0, MOST_SHOWN).map((each) => place(speech, each, speak))),
  );
}

function place(speech, verdict, speak) {
  const points = [...speech.text].slice(verdict.start, verdict.end);
  const shown = points.slice(0, BEGINNING).join("") + (points.length > BEGINNING ? "…" : "");
  const [kind, reason] = verdict.verdict.split(":");
  const key = reason ? `verdict.suspect.${reason}` : `verdict.${kind}`;
  const why = has(key) ? t(key) : verdict.verdict;
  const act = () => speak(again(speech, verdict));
  const button = element("button", { type: "button", class: "quiet", "aria-label": t("verdict.again_of", { text: points.slice(0, 40).join("") }), onclick: act }, t("verdict.again"));
  return element("li", {}, element("p", { dir: "auto" }, shown), element("p", { class: "faint" }, why), button);
}
