// Whether the server is there, in the head of the page.

import { byId, element } from "./dom.js";
import { onLanguage, t } from "./i18n.js";
import { clearNotice } from "./notices.js";

/** Follow the server's events; `onBack` is called when it is there again, or at last, `enter` to give a key. */
export function showConnection(events, onBack, enter) {
  const place = byId("connection");
  let state = "connecting";
  const show = () => {
    place.dataset.state = state;
    place.replaceChildren(t(`connection.${state}`));
    if (state === "locked") place.append(element("button", { type: "button", class: "quiet", onclick: enter }, t("access.again")));
  };
  onLanguage(show);
  events.addEventListener("connection", ({ detail }) => {
    if (detail !== "lost") clearNotice("connection");
    if (detail === "there" && state === "lost") onBack();
    state = detail;
    show();
  });
}
