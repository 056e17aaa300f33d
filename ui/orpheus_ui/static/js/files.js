// Text files, dropped on the text or chosen.

import { byId } from "./dom.js";
import { t } from "./i18n.js";
import { notice } from "./notices.js";

const MOST_BYTES = 1024 * 1024;
const NAMES = /\.(txt|md|markdown|text)$/i;

/** Call `take(text)` with what is in a text file that is dropped or chosen; what is none is told. */
export function offerFiles(take) {
  const [target, chooser] = [byId("composer"), byId("file")];
  const read = async (file) => {
    if (!file) return;
    const isText = NAMES.test(file.name) || file.type.startsWith("text/");
    if (!isText || file.size > MOST_BYTES) notice(() => t(isText ? "file.too_large" : "file.no_text", { name: file.name }), null, "request");
    else take((await file.text()).replace(/^\uFEFF/, "").replaceAll("\r\n", "\n"));
  };
  const carries = (event) => event.dataTransfer?.types.includes("Files");
  target.addEventListener("dragover", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    target.classList.add("dropping");
  });
  target.addEventListener("dragleave", () => target.classList.remove("dropping"));
  target.addEventListener("drop", (event) => {
    target.classList.remove("dropping");
    if (!carries(event)) return;
    event.preventDefault();
    read(event.dataTransfer.files[0]);
  });
  byId("open-file").addEventListener("click", () => chooser.click());
  chooser.addEventListener("change", async () => {
    await read(chooser.files[0]);
    chooser.value = "";
  });
}
