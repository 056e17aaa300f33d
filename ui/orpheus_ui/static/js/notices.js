// What the page has to say for itself: errors in words, with what to do, and questions.

import { RefusedError, UnreachableError } from "./api.js";
import { byId, element, icon } from "./dom.js";
import { duration, has, language, onLanguage, t } from "./i18n.js";

const PLACE = /line (\d+), column (\d+)/; // in an SSML document

const TOAST_MS = 10_000;

/** An error as a sentence for the person, in the page's language. */
export function inWords(error) {
  if (error instanceof UnreachableError) return t("error.unreachable");
  if (!(error instanceof RefusedError)) return t("error.page");
  const wait = error.retryAfter ? t("error.retry_after", { time: duration(error.retryAfter) }) : "";
  return `${refused(error)} ${wait}`.trim();
}

/** The same for `append`: what the page has no words for comes behind them, marked as somebody else's. */
export function told(error) {
  const known = error instanceof UnreachableError || (error instanceof RefusedError && (knownKey(error) || language() === "en"));
  return known || !error.message ? [inWords(error)] : [inWords(error), " ", quoted(error.message)];
}

/** What a server, a driver or a browser says in English, among words of the page's language. */
export const quoted = (words) => element("q", { class: "quoted", lang: "en" }, words);

/** The server writes for people, in English. */
function refused(error) {
  const { status, message } = error;
  if (language() === "en" && message) return message;
  const key = knownKey(error) ?? (has(`error.${status}`) ? `error.${status}` : "error.server");
  const [, line, column] = message.match(PLACE) ?? [];
  return t(key, { line, column });
}

/** The words for exactly this error: by its name, and where it can be in several fields by the field. */
const knownKey = ({ code, param }) => [`error.${code}.${param}`, `error.${code}`].find(has);

/** What must change for an error to be no longer true: the "connection", the "key" or the "request"; null: a new try. */
function causeOf(error) {
  if (error instanceof UnreachableError || [502, 504].includes(error.status)) return "connection";
  if (error.status === 401) return "key";
  return error instanceof RefusedError && error.status < 500 ? "request" : null;
}

/** Show an error until it is closed or its cause has gone. */
export const explain = (error) => notice(() => told(error), null, causeOf(error));

let standing = null; // what the notice says, once more in each language that is chosen meanwhile

/**
 * Show the sentence of `words()`, or what `told` gives, until it is closed, another takes its place, or its `cause` is cleared; `action`,
 * `{label(), act()}`, is a button beside it.
 */
export function notice(words, action = null, cause = null) {
  standing = { words, action, cause };
  showNotice();
}

function showNotice() {
  const { words, action, cause } = standing;
  const offered = action && element("button", { type: "button", class: "quiet", onclick: action.act }, action.label());
  const close = element("button", { type: "button", class: "quiet bare", "aria-label": t("notice.close"), onclick: () => clearNotice() }, icon("close"));
  byId("notices").replaceChildren(element("div", { class: "notice", "data-cause": cause }, element("p", {}, ...[words()].flat()), offered, close));
}

onLanguage(() => standing && showNotice());

/** Tell of something that was done, for a while; `action`, `{label, act}`, is a button that undoes it. */
export function toast(words, action) {
  const gone = () => shown.remove();
  const act = () => {
    gone();
    action.act();
  };
  const shown = element(
    "div", { class: "toast" },
    element("p", {}, words),
    action && element("button", { type: "button", class: "quiet", onclick: act }, action.label),
    element("button", { type: "button", class: "quiet bare", "aria-label": t("notice.close"), onclick: gone }, icon("close")),
  );
  byId("toasts").replaceChildren(shown);
  const look = () => (shown.matches(":hover, :focus-within") ? setTimeout(look, TOAST_MS) : gone());
  setTimeout(look, TOAST_MS);
}

/** Take the notice away; with a `cause`, only one that has it. */
export function clearNotice(cause = null) {
  if (cause && standing?.cause !== cause) return;
  standing = null;
  byId("notices").replaceChildren();
}

/** Ask a question; resolves to whether the answer was `yes`, whose words are given. */
export function confirmed(question, yes) {
  const dialog = byId("confirm");
  byId("confirm-text").textContent = question;
  byId("confirm-yes").textContent = yes;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}
