// Which language a text is in: by its script, else by the small words that every text has.

const SCRIPTS = { ko: /\p{Script=Hangul}/gu, hi: /\p{Script=Devanagari}/gu, ja: /[\p{Script=Hiragana}\p{Script=Katakana}]/gu, zh: /\p{Script=Han}/gu };
const LATIN = /\p{Script=Latin}/gu;
const LETTER = /\p{L}/gu;

const SMALL_WORDS = {
  en: ["the", "and", "of", "to", "is", "that", "it", "was", "you", "with", "for", "are", "this", "have", "not", "what", "from", "they", "your", "we"],
  fr: ["le", "les", "et", "des", "est", "une", "du", "que", "qui", "dans", "pas", "pour", "vous", "je", "nous", "ce", "avec", "sur", "au", "il"],
  de: ["der", "die", "und", "das", "ist", "nicht", "ein", "ich", "zu", "den", "mit", "sich", "auf", "von", "dem", "es", "eine", "sie", "wir", "auch"],
  es: ["el", "los", "las", "y", "que", "es", "una", "por", "con", "para", "del", "se", "su", "lo", "como", "pero", "muy", "está", "al", "yo"],
  it: ["il", "di", "che", "e", "è", "un", "per", "non", "sono", "della", "gli", "con", "del", "si", "mi", "questo", "ma", "anche", "nel", "al"],
};

const LOOKED_AT = 4_000; // characters
const FEWEST_WORDS = 4; // less is a name or a greeting
const FEWEST_SMALL = 2;
const CLEARLY = 1.5; // times the next language's small words

/** ISO 639-1 of the text's language; "" for a script of none of ours; null where that cannot be told. */
export function languageOf(text) {
  const looked = text.slice(0, LOOKED_AT).replace(/<[^>]*>/g, " ");
  const count = (pattern) => looked.match(pattern)?.length ?? 0;
  const letters = count(LETTER);
  if (letters < 2) return null;
  if (count(LATIN) > letters / 2) return byWords(looked);
  const kana = count(SCRIPTS.ja);
  if (kana > letters / 10) return "ja";
  for (const [language, script] of Object.entries(SCRIPTS)) if (count(script) > letters / 3) return language;
  return "";
}

function byWords(text) {
  const words = text.toLowerCase().match(/\p{L}+/gu) ?? [];
  if (words.length < FEWEST_WORDS) return null;
  const shares = Object.entries(SMALL_WORDS).map(([language, small]) => [words.filter((word) => small.includes(word)).length, language]);
  const [[most, language], [next]] = /** @type {[number, string][]} */ (shares).sort((a, b) => b[0] - a[0]);
  return most >= FEWEST_SMALL && most >= next * CLEARLY && most >= words.length / 12 ? language : null;
}
