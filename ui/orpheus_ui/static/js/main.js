// The page put together: each concept has its module, and here they meet.

import { allowAsking, askForKey, currentKey } from "./access.js";
import { address, useAccess } from "./api.js";
import { Cast } from "./cast.js";
import { Catalog } from "./catalog.js";
import { copy } from "./clipboard.js";
import { Composer } from "./composer.js";
import { showConnection } from "./connection.js";
import { Developers } from "./developers.js";
import { byId, element } from "./dom.js";
import { ServerEvents } from "./events.js";
import { offerFiles } from "./files.js";
import { Segments } from "./follow.js";
import { GPUPanel } from "./gpu.js";
import { History } from "./history.js";
import { Keeping } from "./keeping.js";
import { chooseLanguage, languageName, onLanguage, otherLanguage, startLanguage, t } from "./i18n.js";
import { fromLink, linkTo } from "./link.js";
import { Listening } from "./listening.js";
import { Live } from "./live.js";
import { Models } from "./models.js";
import { clearNotice, explain, notice, toast } from "./notices.js";
import { Plan } from "./plan.js";
import { recall, remember } from "./remembered.js";
import { Shelf } from "./shelf.js";
import { Speaking } from "./speaking.js";
import { onTold, tell } from "./tabs.js";
import { Takes } from "./takes.js";
import { offerThemes } from "./theme.js";
import { languageOf } from "./tongue.js";
import { LARGEST_SEED, Tuning } from "./tuning.js";
import { Voices } from "./voices.js";

const DEFAULT_FORMAT = "mp3";

/** The page can be used. */
function reveal() {
  document.documentElement.dataset.ready = "";
  performance.mark("ready");
}

useAccess({
  current: currentKey,
  ask: (reason) => {
    reveal();
    return askForKey(reason);
  },
});
/** Without the examples the page still speaks. */
const loadExamples = () => fetch(address("ui/examples.json")).then((answer) => answer.json()).catch(() => ({}));

const [examples] = await Promise.all([loadExamples(), startLanguage()]);

const events = new ServerEvents(() => speaking.busy);
const catalog = new Catalog();
const composer = new Composer();
const models = new Models(catalog);
const voices = new Voices(catalog, () => models.chosen);
const tuning = new Tuning(catalog);
const cast = new Cast(() => composer.text, () => (voices.chosen ? voices.beside : []));
const format = () => byId("format").value || DEFAULT_FORMAT;
const listening = new Listening(composer, format);
const segments = new Segments(events);

/** What would be asked for now; null until the server has said what there is. */
const request = () =>
  catalog.offer && { text: composer.text, model: models.chosen, voice: voices.chosen, ...tuning.chosen, ...cast.chosen };

const nameOf = (id) => catalog.offer && catalog.voice(id)?.name;
const past = new History(() => tell("history"));
const shelf = new Shelf(past, {
  format,
  nameOf,
  onReplay: replay,
  onSpeak: (wanted) => speaking.start(wanted),
  onReuse: ({ text, wanted }) => {
    composer.replace(text);
    models.chosen = wanted.model;
    voices.chosen = wanted.voice;
    tuning.take(wanted);
    cast.take(wanted.cast);
    composer.focus();
  },
});

function replay(speech, samples) {
  speaking.stop();
  voices.hush();
  listening.show(speech, samples);
  listening.player.play();
}

const keep = (made, samples) => new Keeping(past, made, samples);
const live = new Live({ catalog, composer, listening, segments, events, request, keep, onSpoken: (speech, _, keeping) => shelf.keep(() => keeping.end(speech)) });
const speaking = new Speaking({
  catalog, composer, listening, segments, events, request, keep, live,
  onSpoken: (speech, samples, keeping) => {
    if (!speech.partial) takes.add(speech, samples);
    return shelf.keep(() => keeping.end(speech));
  },
});
const takes = new Takes(replay);
byId("again").addEventListener("click", () => speaking.start({ ...listening.speech.wanted, seed: Math.floor(Math.random() * LARGEST_SEED) }));
listening.player.addEventListener("change", () => {
  byId("again").hidden = !listening.player.complete || listening.speech?.live || models.speaking?.engine === "preview";
});

const developers = new Developers(() => {
  const wanted = request();
  return wanted && { ...wanted, text: wanted.text || t("developers.sample_text"), response_format: format() };
});

new GPUPanel(catalog, events);
catalog.follow(events);

const plan = new Plan(request, nameOf);
for (const part of [composer, models, voices]) part.addEventListener("change", () => cast.look());
for (const part of [composer, models, voices, tuning, cast]) {
  part.addEventListener("change", () => {
    clearNotice("request");
    developers.show();
    plan.look();
  });
}
for (const part of [composer, cast]) part.addEventListener("change", onText);
voices.addEventListener("sample", () => speaking.stop());
listening.player.addEventListener("sound", () => voices.hush());
for (const player of [listening.player, voices.player]) player.addEventListener("start", () => tell("playing"));
onTold("playing", () => {
  listening.player.pause();
  voices.hush();
});
voices.addEventListener("change", onVoice);
models.addEventListener("change", () => voices.fit());
models.addEventListener("change", onVoice);
byId("format").addEventListener("change", () => {
  remember("format", format());
  listening.relabel();
  developers.show();
});
onLanguage(onVoice);

catalog.addEventListener("load", () => {
  const { limits, emotion_tags: tags, formats } = catalog.offer;
  composer.allow(limits.max_input_chars, tags);
  const kept = recall("format", DEFAULT_FORMAT);
  byId("format").replaceChildren(...formats.map((name) => element("option", { value: name, selected: name === kept }, name.toUpperCase())));
  listening.relabel();
  developers.show();
});

/** What hangs on the voice and the model: examples in its language, and what the preview cannot do. */
function onVoice() {
  const voice = catalog.offer && catalog.voice(voices.chosen);
  if (!voice) return;
  models.voice = voice.id;
  const { id, example } = catalog.offer.languages.find((language) => language.id === voice.language);
  const more = Object.entries(examples[id] ?? {}).map(([name, text]) => ({ name, text }));
  composer.offer([{ name: "greeting", text: example }, ...more], id);
  const preview = models.speaking?.engine === "preview";
  tuning.obey((name) => name === "speed" || !preview, preview ? t("tuning.preview_note") : null);
  byId("speaker").replaceChildren(...voices.portrait);
  byId("speaker").setAttribute("aria-label", t("voices.speaker", { voice: voice.name, language: languageName(voice.language) }));
  byId("speaker").hidden = false;
  onText();
}

/** What the text asks for and will not get: emotions of the preview, another language of the voice. */
function onText() {
  const voice = catalog.offer && catalog.voice(voices.chosen);
  if (!voice) return;
  byId("tags-note").hidden = !(composer.tagged && models.speaking?.engine === "preview");
  const written = languageOf(composer.text);
  const differs = written !== null && written !== voice.language && !cast.chosen.cast;
  const better = differs && catalog.voicesOf(models.chosen).usable.find(({ language }) => language === written);
  const names = { voice: voice.name, language: languageName(voice.language), written: written && languageName(written) };
  byId("tongue-note").hidden = !differs;
  byId("tongue-words").textContent = differs ? t(written ? "voices.other_language" : "voices.other_script", names) : "";
  byId("tongue-use").hidden = !better;
  byId("tongue-use").textContent = better ? t("voices.use", { voice: better.name }) : "";
  byId("tongue-use").onclick = () => {
    voices.chosen = better.id;
    composer.focus();
  };
}
byId("speaker").addEventListener("click", () => voices.reveal());

/** Voices of one's own are for few: their part of the page comes when it is asked for. */
byId("own-voices").addEventListener("click", async () => {
  if (!catalog.offer) return;
  const part = await import("./own_voices.js").catch(() => notice(() => t("error.part")));
  if (!part) return;
  const onSound = () => {
    speaking.stop();
    voices.hush();
    tell("playing");
  };
  const onUse = ({ id, model }) => {
    models.chosen = model;
    voices.chosen = id;
  };
  new part.OwnVoices(catalog, { onSound, onUse }).open();
});

offerThemes();
offerFiles((text) => composer.replace(text));
byId("copy-link").addEventListener("click", async () => {
  if (!catalog.offer) return;
  const link = linkTo(request(), document.baseURI);
  if (await copy(link)) toast(t("link.copied"));
  else notice(() => t("error.not_copied", { words: link }));
});

/** Fill the page with what its address carries; it never speaks by itself. */
function takeLink() {
  const given = fromLink(location.hash);
  if (!given) return;
  history.replaceState(null, "", document.baseURI.split("#")[0]);
  if (given.text !== undefined) composer.replace(given.text);
  if (given.model) models.chosen = given.model;
  if (given.voice) voices.chosen = given.voice;
  tuning.take(given.tuning);
  cast.take(given.cast);
}

const languageSwitch = byId("language");
languageSwitch.addEventListener("click", () => chooseLanguage(otherLanguage().id));
onLanguage(() => {
  const { id, name } = otherLanguage();
  languageSwitch.textContent = name;
  languageSwitch.lang = id;
});

/** Browsers start the sound card only after a gesture; the first one is early enough to hide how long that takes. */
for (const gesture of ["pointerdown", "keydown"]) {
  addEventListener(gesture, () => listening.player.warm(), { once: true, capture: true });
}

/** Read what the server offers; resolves to whether it told. */
async function load() {
  try {
    await catalog.load();
    return true;
  } catch (error) {
    if (error.status === 401) notice(() => t("error.401"), { label: () => t("access.again"), act: enter }, "key");
    else if (error.status) explain(error);
    return false;
  }
}

async function enter() {
  allowAsking();
  clearNotice();
  if (await load()) events.restart();
}

showConnection(events, load, enter);
if (await load()) takeLink();
addEventListener("hashchange", () => catalog.offer && takeLink());
reveal();
events.restart();
