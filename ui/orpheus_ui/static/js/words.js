// The words come before the rest of the page does, which is more.

import { startLanguage } from "./i18n.js";

startLanguage();
