// The page's words, in the language of its reader.

import { recall, remember } from "./remembered.js";

const LANGUAGES = { en: "English", zh: "中文" };

let words = {};
let started = null;
let current = "en";
const listeners = [];

/** The language the page is in, as a BCP 47 tag. */
export const language = () => current;

/** The other language, which the switch offers, and its own name for itself. */
export function otherLanguage() {
  const id = current === "en" ? "zh" : "en";
  return { id, name: LANGUAGES[id] };
}

/** Called now and whenever the language changes. */
export function onLanguage(listener) {
  listeners.push(listener);
  listener();
}

/** The words for `key`, with `{name}` replaced from `values`. */
export function t(key, values = {}) {
  return (words[key] ?? key).replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
}

/** Whether there are words for `key`. */
export const has = (key) => key in words;

/** Load the language that was chosen before, else the browser's; called again, it waits for the same. */
export const startLanguage = () => (started ??= start());

async function start() {
  const chosen = recall("language", null);
  const wanted = chosen ? [chosen] : navigator.languages;
  const found = wanted.map((tag) => tag.slice(0, 2).toLowerCase()).find((id) => id in LANGUAGES);
  await use(found ?? "en");
}

/** Switch to a language and remember it. */
export async function chooseLanguage(id) {
  remember("language", id);
  await use(id);
}

const load = async (id) => {
  const answer = await fetch(`ui/i18n/${id}.json`);
  if (!answer.ok) throw new Error(answer.statusText);
  return answer.json();
};

/** A language that cannot be loaded is not taken; at the start, another is. */
async function use(id) {
  try {
    words = await load(id);
  } catch {
    if (Object.keys(words).length) return;
    const other = Object.keys(LANGUAGES).find((each) => each !== id);
    words = await load(other);
    id = other;
  }
  current = id;
  performance.mark("words");
  document.documentElement.lang = id === "zh" ? "zh-Hans" : id;
  document.title = t("page.title");
  for (const node of document.querySelectorAll("[data-i18n]")) node.textContent = t(node.getAttribute("data-i18n"));
  for (const name of ["aria-label", "placeholder", "title"]) {
    for (const node of document.querySelectorAll(`[data-i18n-${name}]`)) {
      node.setAttribute(name, t(node.getAttribute(`data-i18n-${name}`)));
    }
  }
  for (const listener of listeners) listener();
}

/** 1234.5 → "1,234.5", with at most `digits` behind the point. */
export const number = (value, digits = 0) =>
  new Intl.NumberFormat(current, { maximumFractionDigits: digits }).format(value);

/** Bytes as GiB with one digit, as NVIDIA's tools count them. */
export const gibibytes = (bytes) => t("unit.gib", { n: (bytes / 2 ** 30).toFixed(1) });

/** Seconds as words for people: "0.4 s", "72 s", "2 min 5 s", "3 h". */
export function duration(seconds) {
  if (seconds < 10) return t("unit.seconds", { n: number(seconds, 1) });
  const whole = Math.round(seconds);
  if (whole < 100) return t("unit.seconds", { n: whole });
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  if (h) return m ? t("unit.hours_minutes", { h, m }) : t("unit.hours", { h });
  return s ? t("unit.minutes_seconds", { m, s }) : t("unit.minutes", { m });
}

/** Less than a second in words, which a clock would show as none; null for more. */
export const brief = (seconds) => (seconds > 0 && seconds < 1 ? t("unit.seconds", { n: Math.max(0.1, seconds).toFixed(1) }) : null);

/** Seconds as a player shows them: 0:07, 12:30, 1:02:03. */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const pair = (n) => String(n).padStart(2, "0");
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return h ? `${h}:${pair(m)}:${pair(s)}` : `${m}:${pair(s)}`;
}

/** What a language (ISO 639-1) is called in the page's language. */
export function languageName(id) {
  return new Intl.DisplayNames([document.documentElement.lang], { type: "language" }).of(id);
}

/** A moment as "today" readers write it. */
export function moment(milliseconds) {
  /** @type {Intl.DateTimeFormatOptions} */
  const form = { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" };
  return new Intl.DateTimeFormat(document.documentElement.lang, form).format(milliseconds);
}
