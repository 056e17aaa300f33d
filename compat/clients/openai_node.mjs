// Checks a server with OpenAI's SDK for Node.js: npm install && node openai_node.mjs [BASE_URL]
import assert from "node:assert/strict";
import process from "node:process";

import OpenAI, { BadRequestError, NotFoundError } from "openai";

const baseURL = process.argv[2] ?? process.env.BASE_URL ?? "http://127.0.0.1:8899/v1";
const client = new OpenAI({ baseURL, apiKey: process.env.OPENAI_API_KEY ?? "none", maxRetries: 0 });

const model = "tts-1";
const input = "The quick brown fox jumped over the lazy dog.";
const speak = (changed = {}) => client.audio.speech.create({ model, voice: "alloy", input, ...changed });

const firstBytes = { opus: "OggS", flac: "fLaC", wav: "RIFF" };

const expectAudio = (audio, format) => {
  assert.ok(audio.length > 1000, `only ${audio.length} bytes of ${format}`);
  if (format in firstBytes) {
    assert.equal(audio.subarray(0, 4).toString("latin1"), firstBytes[format]);
  } else if (format === "pcm") {
    assert.equal(audio.length % 2, 0, "half a sample");
  } else {
    assert.equal(audio[0], 0xff, `${format} does not begin with a frame`);
  }
};

const expectError = async (kind, param, promise) =>
  assert.rejects(promise, (error) => {
    assert.ok(error instanceof kind, `${error.constructor.name} instead of ${kind.name}`);
    assert.equal(error.param, param);
    assert.equal(error.type, "invalid_request_error");
    assert.ok(error.requestID, "the error has no x-request-id");
    return true;
  });

const checks = {
  "speech in every format": async () => {
    for (const format of ["mp3", "opus", "aac", "flac", "wav", "pcm"]) {
      const answer = await speak({ response_format: format });
      expectAudio(Buffer.from(await answer.arrayBuffer()), format);
    }
  },

  "streaming in pieces": async () => {
    const answer = await speak({ input: input.repeat(4), response_format: "pcm" });
    const pieces = [];
    for await (const piece of answer.body) pieces.push(piece);
    assert.ok(pieces.length > 1, "everything came in one piece");
    expectAudio(Buffer.concat(pieces), "pcm");
  },

  "hanging up half way, and speaking again": async () => {
    const answer = await speak({ input: input.repeat(40), response_format: "pcm" });
    const reader = answer.body.getReader();
    assert.ok((await reader.read()).value.length > 0);
    await reader.cancel();
    expectAudio(Buffer.from(await (await speak()).arrayBuffer()), "mp3");
  },

  "server-sent events": async () => {
    const answer = await speak({ response_format: "mp3", stream_format: "sse" });
    assert.match(answer.headers.get("content-type"), /^text\/event-stream/);
    const lines = (await answer.text()).split("\n").filter(Boolean);
    const events = lines.map((line) => JSON.parse(line.replace(/^data: /, "")));
    const done = events.pop();
    assert.equal(done.type, "speech.audio.done");
    assert.ok(done.usage.total_tokens > 0);
    assert.ok(events.every((event) => event.type === "speech.audio.delta"));
    expectAudio(Buffer.concat(events.map((event) => Buffer.from(event.audio, "base64"))), "mp3");
  },

  "the list of models": async () => {
    const ids = [];
    for await (const found of client.models.list()) ids.push(found.id);
    assert.ok(ids.includes(model), ids.join(" "));
    assert.equal((await client.models.retrieve(model)).id, model);
  },

  "errors are the SDK's own": async () => {
    await expectError(BadRequestError, "voice", speak({ voice: "nobody" }));
    await expectError(BadRequestError, "input", speak({ input: "   " }));
    await expectError(BadRequestError, "speed", speak({ speed: 9 }));
    await expectError(NotFoundError, "model", speak({ model: "no-such-model" }));
    await expectError(NotFoundError, "model", client.models.retrieve("no-such-model"));
  },
};

for (const [title, check] of Object.entries(checks)) {
  try {
    await check();
    console.log(`ok      ${title}`);
  } catch (error) {
    process.exitCode = 1;
    console.log(`FAILED  ${title}: ${error.message}`);
  }
}
