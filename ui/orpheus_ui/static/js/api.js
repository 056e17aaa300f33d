// The server's API: requests with the key, where one is needed, and errors that can be put into words.

/** The server answered, with an error. */
export class RefusedError extends Error {
  constructor(status, { code = null, param = null, message = "" }, retryAfter) {
    super(message);
    this.status = status;
    this.code = code;
    this.param = param;
    this.retryAfter = retryAfter;
  }
}

/** Nobody answered. */
export class UnreachableError extends Error {}

let key = () => null;
/** @type {(why: string) => Promise<boolean>} */
let askForKey = async () => false;

/** Where the key comes from: `current()` gives it or null, `ask()` resolves to whether there is a new one. */
export function useAccess(access) {
  key = access.current;
  askForKey = access.ask;
}

/** An address on this server, also where it stands below a prefix. */
export const address = (path) => new URL(path, document.baseURI).href;

/**
 * The response to a request, once its status is good.
 *
 * Throws RefusedError, UnreachableError, or AbortError when `signal` fires. Where the server asks for a key,
 * the person is asked, and the request is made again.
 * @param {string} path
 * @param {{method?: string, json?: object, body?: BodyInit, keep?: boolean, signal?: AbortSignal}} [options]
 */
export async function request(path, { method = "GET", json, body, keep, signal } = {}) {
  for (;;) {
    const headers = {};
    const used = key();
    if (used) headers.authorization = `Bearer ${used}`;
    if (keep) headers["x-orpheus-keep"] = "true";
    if (json !== undefined) headers["content-type"] = "application/json";
    const sent = json === undefined ? body : JSON.stringify(json);
    const response = await attempt(address(path), { method, headers, body: sent, signal });
    if (response.ok) return response;
    const error = await refusal(response);
    const replaced = error.status === 401 && (key() !== used || (await askForKey(used ? "wrong" : "needed")));
    if (!replaced) throw error;
  }
}

async function attempt(url, init) {
  try {
    return await fetch(url, init);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new UnreachableError(error.message);
  }
}

async function refusal(response) {
  const told = await response.json().then((body) => body.error ?? {}, () => ({}));
  return new RefusedError(response.status, told, Number(response.headers.get("retry-after")) || null);
}

const read = async (path) => (await request(path)).json();

/** Everything that has a name: models, voices, languages, tags, formats, limits, defaults. */
export const fetchModels = () => read("api/models");

/** The server's state. */
export const fetchStatus = () => read("api/status");

/** Speech while it is spoken: a Response whose body is a stream; with `keep` the server keeps a take, too, and tells the words in its events. */
export const generate = (wanted, signal, { keep = false, format = "pcm" } = {}) =>
  request("api/generate", { method: "POST", json: { ...wanted, response_format: format, word_times: keep }, keep, signal });

/** What would be spoken of a request, without speaking it. */
export const planText = async (wanted, signal) =>
  (await request("api/text", { method: "POST", json: wanted, signal })).json();

/** A speech of ours is cut in on after so many seconds of it: `{text_spoken, text_remaining, …}`. */
export const interrupt = async (id, seconds) =>
  (await request(`api/speech/${id}/interrupt`, { method: "POST", json: { played_ms: Math.round(seconds * 1000) } })).json();

const downloads = async (model, method, options = {}) => (await request(`api/models/${model}/download`, { method, ...options })).json();

/** The file of a model that would be downloaded: `{name, bytes, free_bytes, here}`. */
export const offerDownload = (model) => downloads(model, "GET");

/** Begin to download it: `{model, name, state, bytes, done_bytes, message}`. */
export const startDownload = (model) => downloads(model, "POST", { json: {} });

/** Break it off; what has come is kept. */
export const breakOffDownload = (model) => downloads(model, "DELETE");

/** Take a model off the GPU; `force` ends the speech that uses it. */
export const offload = async (model, force) =>
  (await request("api/offload", { method: "POST", json: { model, force } })).json();

/** A take that the server has kept, at the address that it gave, in any format, as a Blob. */
export const fetchTake = async (take, format) => (await request(`${take.replace(/^\//, "")}?format=${format}`)).blob();

/** The words of a speech as subtitles, "srt" or "vtt", as a Blob. */
export const caption = async (format, text, words) =>
  (await request(`api/caption/${format}`, { method: "POST", json: { text, words } })).blob();

/** PCM in another format, as a Blob. */
export const encode = async (format, pcm) =>
  (await request(`api/encode/${format}`, { method: "POST", body: pcm })).blob();
