// Copying words.

import { element } from "./dom.js";

/** The clipboard is for secure addresses only; elsewhere a selection is copied. */
export async function copy(words) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(words);
    return;
  }
  const field = element("textarea", { class: "unseen" });
  field.value = words;
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}
