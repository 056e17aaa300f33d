// Whether the server is there, in the head of the page.

import { byId } from "./dom.js";
import { onLanguage, t } from "./i18n.js";

/** Follow the server's events; `onBack` is called when it is there again, or at last. */
export function showConnection(events, onBack) {
  const place = byId("connection");
  let state = "connecting";
  const show = () => {
    place.dataset.state = state;
    place.textContent = t(`connection.${state}`);
  };
  onLanguage(show);
  events.addEventListener("connection", ({ detail }) => {
    if (detail && state === "lost") onBack();
    state = detail ? "there" : "lost";
    show();
  });
}
