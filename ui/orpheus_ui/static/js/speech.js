// One request on its way to the ear: sound from the server into the player, and what it took.

import { generate } from "./api.js";
import { ArrivingOpus, ArrivingPCM, decodes } from "./arriving.js";
import { slowLine } from "./line.js";
import { SAMPLE_RATE } from "./player.js";

/** The stream ended before the speech did. */
export class BrokenOffError extends Error {}

/**
 * Ask for speech and give it to `sound`, which `player` has begun, as it comes.
 *
 * Resolves to `{id, model, take, loadSeconds, firstSoundSeconds, realTimeFactor, audioSeconds}` when all of it is
 * there; `onAnswer` is called with what is known when the first audio is. Throws the API's errors, BrokenOffError, and
 * AbortError when `signal` fires.
 */
export async function speak(wanted, player, sound, signal, onAnswer) {
  const asked = performance.now();
  const since = () => (performance.now() - asked) / 1000;
  const facts = { firstSoundSeconds: null };
  const onSound = ({ detail }) => (facts.firstSoundSeconds ??= since() + detail);
  player.addEventListener("sound", onSound);
  try {
    const arriving = slowLine() && decodes() ? new ArrivingOpus(sound.push) : new ArrivingPCM(sound.push);
    const response = await generate(wanted, signal, { keep: true, format: arriving.format });
    facts.id = response.headers.get("x-request-id");
    facts.model = response.headers.get("x-orpheus-model");
    facts.take = response.headers.get("x-orpheus-take");
    facts.loadSeconds = Number(response.headers.get("x-orpheus-load-seconds")) || 0;
    onAnswer(facts);
    for await (const piece of pieces(response.body, signal)) arriving.take(piece);
    await arriving.end();
    facts.audioSeconds = sound.samples.length / SAMPLE_RATE;
    facts.realTimeFactor = (since() - facts.loadSeconds) / facts.audioSeconds;
    return facts;
  } finally {
    sound.finish();
    player.removeEventListener("sound", onSound);
  }
}

/** Speech as a whole, int16, without playing it. */
export async function fetchSpeech(wanted, signal) {
  return new Int16Array(await (await generate(wanted, signal)).arrayBuffer());
}

async function* pieces(body, signal) {
  const reader = body.getReader();
  for (;;) {
    const { done, value } = await reader.read().catch((error) => {
      throw signal.aborted ? error : new BrokenOffError();
    });
    if (done) return;
    yield value;
  }
}
