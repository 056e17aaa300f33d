// A speech as a file: in any format, with a name that says what it is.

import { encode } from "./api.js";
import { element } from "./dom.js";
import { SAMPLE_RATE } from "./player.js";

const NAME_CHARACTERS = 40;

/** Save `samples` (int16, 24 kHz). WAV and PCM are made here, the others by the server from the same samples. */
export async function save(samples, format, name) {
  const url = URL.createObjectURL(await inFormat(samples, format));
  const link = element("a", { href: url, download: `${name}.${format}` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** "orpheus-tara-hello-there-20261123-1726": the voice, how the text begins, and when. */
export function fileName(voice, text, created) {
  const words = text.replace(/<[^>]*>/g, " ").toLowerCase().match(/[\p{L}\p{M}\p{N}]+/gu) ?? [];
  let beginning = "";
  for (const word of words) {
    if (beginning && beginning.length + word.length > NAME_CHARACTERS) break;
    beginning = [beginning, word.slice(0, NAME_CHARACTERS)].filter(Boolean).join("-");
  }
  const stamp = new Date(created - new Date(created).getTimezoneOffset() * 60_000).toISOString();
  const when = stamp.slice(0, 16).replaceAll(/[-:]/g, "").replace("T", "-");
  return ["orpheus", voice, beginning, when].filter(Boolean).join("-");
}

async function inFormat(samples, format) {
  if (format === "pcm") return new Blob([samples], { type: "audio/pcm" });
  if (format === "wav") return new Blob([wavHeader(samples.byteLength), samples], { type: "audio/wav" });
  return encode(format, new Blob([samples]));
}

function wavHeader(bytes) {
  const view = new DataView(new ArrayBuffer(44));
  const text = (at, letters) => [...letters].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + bytes, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true); // the format chunk's size
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true); // channels
  view.setUint32(24, SAMPLE_RATE, true);
  view.setUint32(28, SAMPLE_RATE * 2, true);
  view.setUint16(32, 2, true); // bytes a sample
  view.setUint16(34, 16, true); // bits a sample
  text(36, "data");
  view.setUint32(40, bytes, true);
  return view;
}
