// The current request as a program: what a developer would write to make the same speech.

const KEY = "YOUR_KEY";

/** The programs by name; `wanted` is a request to /api/generate with its response_format, `base` this server. */
export function snippets(wanted, base, hasKey) {
  const body = openaiBody(wanted);
  return { curl: curl(body, base, hasKey), Python: python(body, base, hasKey), JavaScript: javascript(body, base, hasKey), MCP: mcp(base, hasKey) };
}

function openaiBody({ text, model, voice, response_format, speed, ...sampling }) {
  const body = { model, voice, input: text, response_format };
  if (speed !== undefined) body.speed = speed;
  return { body, sampling, file: `speech.${response_format}` };
}

function curl({ body, sampling, file }, base, hasKey) {
  const json = JSON.stringify({ ...body, ...sampling }, null, 2).replaceAll("'", "'\\''");
  const key = hasKey ? `  -H "Authorization: Bearer ${KEY}" \\\n` : "";
  return `curl ${base}/v1/audio/speech \\\n  -H "Content-Type: application/json" \\\n${key}  -d '${json}' \\\n  --output ${file}`;
}

function python({ body, sampling, file }, base, hasKey) {
  const extra = Object.keys(sampling).length ? { extra_body: sampling } : {};
  const given = Object.entries({ ...body, ...extra }).map(([name, value]) => `    ${name}=${JSON.stringify(value)},`);
  return `from openai import OpenAI

client = OpenAI(base_url="${base}/v1", api_key="${hasKey ? KEY : "not-needed"}")

with client.audio.speech.with_streaming_response.create(
${given.join("\n")}
) as speech:
    speech.stream_to_file("${file}")`;
}

function javascript({ body, sampling, file }, base, hasKey) {
  const given = JSON.stringify({ ...body, ...sampling }, null, 2).replace(/^(\s+)"(\w+)":/gm, "$1$2:");
  return `import { writeFile } from "node:fs/promises";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: "${base}/v1", apiKey: "${hasKey ? KEY : "not-needed"}" });

const speech = await client.audio.speech.create(${given});
await writeFile("${file}", Buffer.from(await speech.arrayBuffer()));`;
}

function mcp(base, hasKey) {
  const headers = hasKey ? { headers: { Authorization: `Bearer ${KEY}` } } : {};
  return JSON.stringify({ mcpServers: { orpheus: { type: "http", url: `${base}/mcp`, ...headers } } }, null, 2);
}
