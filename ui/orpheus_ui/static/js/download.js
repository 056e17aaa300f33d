// A speech as a file: in any format, with a name that says what it is.

import { caption, encode, fetchTake, RefusedError, UnreachableError } from "./api.js";
import { element } from "./dom.js";
import { t } from "./i18n.js";
import { inWords, toast } from "./notices.js";
import { SAMPLE_RATE } from "./player.js";

const NAME_CHARACTERS = 40;
const TAKE_MS = 3600_000; // the server keeps a take for so long
const MOST_SENT_BYTES = 8 * 1024 * 1024; // what the server encodes for the page, and what proxies let through

/**
 * Save a speech in a format. WAV and PCM are made here from `samples` (int16, 24 kHz); the others by the server, from
 * the take that it has kept, else from the samples. Where it cannot do that the speech is saved as WAV, and it is told.
 */
export async function save(speech, samples, format) {
  const name = fileName(speech.called ?? speech.voice, speech.name || speech.text, speech.created);
  try {
    offer(await inFormat(speech, samples, format), `${name}.${format}`);
  } catch (error) {
    if (!(error instanceof RefusedError || error instanceof UnreachableError || error instanceof TooLongError)) throw error;
    offer(wav(samples), `${name}.wav`);
    const why = error instanceof TooLongError ? t("download.too_long") : inWords(error);
    toast(t("download.as_wav", { format: format.toUpperCase(), why }));
  }
}

/** Save the captions of a speech whose words are known; "srt" or "vtt". */
export async function saveCaptions({ text, words, voice, called = voice, name, created }, format) {
  const points = [...text];
  const told = words.toSorted((a, b) => a.span[0] - b.span[0]).map((word) => ({ ...word, word: points.slice(...word.span).join("") }));
  offer(await caption(format, text, told), `${fileName(called, name || text, created)}.${format}`);
}

/** The samples are too many to be sent. */
class TooLongError extends Error {}

function offer(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = element("a", { href: url, download: name });
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
  return ["orpheus", voice.replace(/\s+/g, "-"), beginning, when].filter(Boolean).join("-");
}

async function inFormat({ facts, created }, samples, format) {
  if (format === "pcm") return new Blob([samples], { type: "audio/pcm" });
  if (format === "wav") return wav(samples);
  if (facts?.take && Date.now() - created < TAKE_MS) {
    try {
      return await fetchTake(facts.take, format);
    } catch (error) {
      if (error.status !== 404) throw error; // it made room for others, or the server has started anew
    }
  }
  if (samples.byteLength > MOST_SENT_BYTES) throw new TooLongError();
  return encode(format, new Blob([samples]));
}

const wav = (samples) => new Blob([wavHeader(samples.byteLength), samples], { type: "audio/wav" });

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
