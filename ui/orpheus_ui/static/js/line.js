// Whether the line is too slow for sound as it is.

import { here } from "./remembered.js";

const FAST_MBIT = 1; // sound as it is takes 0.4 Mbit/s; less than twice of that has gaps

/** What the browser says of the line, and whether speech has had gaps in this tab. */
export function slowLine(connection = /** @type {any} */ (globalThis).navigator?.connection, gaps = here.recall("gaps", false)) {
  return gaps || Boolean(connection?.saveData) || connection?.downlink < FAST_MBIT;
}

/** Speech had a gap: from now on it comes compressed. */
export const hadGap = () => here.remember("gaps", true);
