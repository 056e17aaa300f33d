// Copying words.

import { element } from "./dom.js";

/** Copy words; whether they are copied. The clipboard is for secure addresses, and where it is allowed; elsewhere a selection is. */
export async function copy(words) {
  try {
    await navigator.clipboard.writeText(words);
    return true;
  } catch {
    return copySelected(words);
  }
}

function copySelected(words) {
  const focused = /** @type {any} */ (document.activeElement);
  const field = element("textarea", { class: "unseen" });
  field.value = words;
  document.body.append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  focused?.focus();
  return copied;
}
