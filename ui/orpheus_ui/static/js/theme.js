// Light, dark, or as the system is.

import { byId, icon } from "./dom.js";
import { onLanguage, t } from "./i18n.js";
import { recall, remember } from "./remembered.js";

const THEMES = ["system", "light", "dark"];

/** The button that goes from one to the next; boot.js has set what was chosen before. */
export function offerThemes() {
  let theme = THEMES.includes(recall("theme", "")) ? recall("theme", "") : "system";
  const button = byId("theme");
  const show = () => {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    const ground = getComputedStyle(document.body).getPropertyValue("--ground");
    for (const meta of document.querySelectorAll("meta[name=theme-color]")) if (theme !== "system") meta.setAttribute("content", ground);
    button.replaceChildren(icon(`theme-${theme}`));
    button.title = t(`theme.${theme}`);
    button.setAttribute("aria-label", t(`theme.${theme}`));
  };
  button.addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    remember("theme", theme);
    show();
  });
  onLanguage(show);
}
