// The key to a server that asks for one, kept for this tab's session.

import { byId } from "./dom.js";
import { t } from "./i18n.js";
import { here } from "./remembered.js";

let asking = null;
let declined = false;

/** The key that was given, or null. */
export const currentKey = () => here.recall("key", null);

/** Ask again, although the person did not want to give a key before. */
export function allowAsking() {
  declined = false;
}

/** Ask for a key because of `reason`, "needed" or "wrong"; all who ask meanwhile share the answer: is there one? */
export function askForKey(reason) {
  if (declined) return Promise.resolve(false);
  asking ??= show(reason).finally(() => (asking = null));
  return asking;
}

function show(reason) {
  const dialog = byId("access");
  const field = byId("access-key");
  byId("access-reason").textContent = t(`access.${reason}`);
  field.value = "";
  let given = false;
  byId("access-form").onsubmit = () => {
    here.remember("key", field.value.trim());
    given = true;
  };
  byId("access-cancel").onclick = () => dialog.close();
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener(
      "close",
      () => {
        declined = !given;
        resolve(given);
      },
      { once: true },
    );
  });
}
