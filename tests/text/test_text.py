"""What reaches a model is clean, and cut where a reader would breathe."""

import re
import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orpheus_openai.models.preview.letters import SOUNDLESS
from orpheus_openai.text.letters import by_name
from orpheus_openai.text.normalise import has_speech, normalise
from orpheus_openai.text.split import split
from orpheus_openai.text.trace import Traced

TAGS = ["laugh", "chuckle", "sigh"]
LANGUAGES = ["en", "fr", "de", "ko", "hi", "zh", "es", "it"]
LONG = 200_000


def squeezed(text: str) -> str:
    return "".join(text.split())


# --- normalise --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("cafe\u0301", "café"),
        ("a\tb\u00a0c\u3000d   e ", "a b c d e"),
        ("a\x00b\x1b\x9dc\x7fd", "a b c d"),
        ("in\u200bvis\u202eible\u2066\ufeff\u00ad", "invisible"),
        ("half\ud83d a pair\udc00", "half a pair"),
        ("non\ufdd0char\uffff\U0001ffff", "nonchar"),
        ("icon \ue000 \U000f1234 here", "icon here"),
        ("one\r\n\r\n\r\ntwo\u2029three.\rFour", "one\n\ntwo\n\nthree.\n\nFour"),
        (f"{'word ' * 12}\n{'more ' * 12}\nends.\nA", f"{'word ' * 12}{'more ' * 12}ends.\n\nA"),
        ("bread\nbutter\njam", "bread\n\nbutter\n\njam"),
        ("Before.\n* * *\n-----\nAfter.", "Before.\n\nAfter."),
        ("What?!?! No!!!!!!!! Well......", "What?!?! No!!! Well..."),
        ("...", ""),
        ("", ""),
    ],
)
def test_what_cannot_be_heard_is_dropped_and_white_space_is_folded(given_text: str, expected: str) -> None:
    assert normalise(given_text, TAGS) == expected


@pytest.mark.parametrize(
    "token",
    [
        "<custom_token_5>",
        "<custom_token_28672>",
        "<|eot_id|>",
        "<|begin_of_text|>",
        "<|audio|>",
        "<|reserved_special_token_3|>",
        "<|EOT_ID|>",
        "< | eot_id | >",
        "< Custom_Token_7 >",
        "<custom _token_ 7>",
        "<\u200b|eot\u2060_id|>",
        "<custom_<custom_token_1>token_2>",
        "<|eot<|eot_id|>_id|>",
        "<<|x|>|<|y|>eot_id|>",
    ],
)
def test_special_tokens_are_dropped_however_they_are_spelt(token: str) -> None:
    assert normalise(f"before{token}after", TAGS) == "before after"


@given(
    st.lists(
        st.sampled_from(
            [*"<>|_ \n\u200bé", "custom", "token", "_token_1", "<|eot_id|>", "<custom_token_1>", "laugh", "/"]
        )
    )
)
def test_no_mixture_of_parts_spells_a_special_token(parts: list[str]) -> None:
    clean = normalise("".join(parts), TAGS)
    assert not re.search(r"< *\|[^<>|\n]*\| *>|< *custom *_ *token *_ *\d* *>", clean, re.IGNORECASE)
    assert normalise(clean, TAGS) == clean


@pytest.mark.parametrize(
    "spelt", ["<laugh>", "<LAUGH>", "< Laugh >", "<laugh/>", "<laugh />", "<\u200blaugh>"]
)
def test_emotion_tags_get_their_canonical_form(spelt: str) -> None:
    assert normalise(f"Oh. {spelt} Yes.", TAGS) == "Oh. <laugh> Yes."


def test_the_end_of_an_emotion_tag_is_not_a_second_emotion() -> None:
    assert normalise("<laugh>ha ha</laugh> yes", TAGS) == "<laugh>ha ha yes"


@pytest.mark.parametrize(
    "text", ["a < b and c > d", "1 <2> 3", "<b>bold</b>", "<frown> no tag", "x <- y -> z", "a | b"]
)
def test_other_markup_stays(text: str) -> None:
    assert normalise(text, TAGS) == text


def test_without_tags_none_is_known() -> None:
    assert normalise("<LAUGH>", []) == "<LAUGH>"


@pytest.mark.parametrize("text", ["👩‍👩‍👧‍👦 home", "❤️‍🔥 love", "👍🏽 fine", "🇩🇪 flag", "क्‍ष", "र्‌क"])
def test_joiners_that_mean_something_stay(text: str) -> None:
    assert normalise(text, TAGS) == text


def test_joiners_that_mean_nothing_go() -> None:
    assert normalise("pass\u200dword\u200c \u200dx👩\u200d", TAGS) == "password x👩"


@given(st.text())
def test_what_comes_out_is_composed_and_has_no_control_characters(text: str) -> None:
    clean = normalise(text, TAGS)
    assert unicodedata.is_normalized("NFC", clean)
    assert not [c for c in clean if unicodedata.category(c) in {"Cc", "Cs"} and c != "\n"]
    assert clean == clean.strip()
    assert "  " not in clean


# --- has_speech -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["a", "...5", "%", "€", "+", "&", "½", "你", "हाँ", "유나", "😀", "🇩🇪", "<laugh>", "©", "٣"]
)
def test_letters_digits_signs_and_emoji_are_speech(text: str) -> None:
    assert has_speech(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "...",
        "—",
        "?!",
        "***",
        "。！？",
        "।",
        "「」",
        "<>",
        "---|---",
        "•",
        "■",
        "\u0301",
        "\u200b",
    ],
)
def test_punctuation_and_ornaments_are_no_speech(text: str) -> None:
    assert not has_speech(text)


# --- split: sentences in eight languages (a bar marks where one ends) -------------------------------------


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "Dr. Smith paid $3.50 at 5 p.m. on Jan. 3rd. | Really?"),
        ("en", "J. R. R. Tolkien, with no Ph.D., wrote e.g. this. | It has 3.14 parts, i.e. about three."),
        ("en", "See https://example.com/a.b?c=d.e and v1.2.3 of a.example. | Then write to me@example.com!"),
        (
            "en",
            "“Is it so? It is!” he said to all of them. | “Of course it is.” | Then they all left, alone…",
        ),
        ("de", "Das ist z. B. am 3. Oktober und d. h. bald so. | Prof. Dr. Müller kam um 17.30 Uhr."),
        (
            "de",
            "„Gut, es ist aus!“, sagte er am 24. Dezember. | „Ach, ist es also so?“ | Es sind 3.141,59 Euro.",
        ),
        (
            "fr",
            "M. Dupont, Mme. Curie et le Dr. House sont là. | « Enfin ! » dit-elle à l’O.N.U., p. ex. là.",
        ),
        ("es", "¿Qué haces en EE. UU., con el Sr. Gil y la Dña. Ana? | ¡Nada que te importe, de verdad!"),
        (
            "it",
            "Il sig. Rossi e il dott. Bianchi pagano 3,50 euro. | «Basta!» disse il Prof. Neri alla fine.",
        ),
        ("hi", "डॉ. शर्मा और श्री. वर्मा आज यहाँ आए थे। | मूल्य 3.14 रुपये है, क्या यह सच है?"),
        ("ko", "저는 3.14를 좋아하는 김철수라고 합니다. | 뭐라고요, 정말로 그렇게 생각하세요?"),
        ("zh", "他说：“价格是3.14元。为什么？” | 「你真的不知道这是为什么吗？」 | 我当然知道，你放心吧！"),
    ],
)
def test_sentences_end_where_a_reader_ends_them(language: str, text: str) -> None:
    expected = [part.strip() for part in text.split("|")]
    longest = max(map(len, expected))
    found = [s.text for s in split(text.replace("|", ""), language, first_chars=1, max_chars=longest)]
    assert [squeezed(s) for s in found] == [squeezed(s) for s in expected]


@pytest.mark.parametrize(
    ("language", "text", "count"),
    [
        ("zh", "你好。我是学生！你是谁？走吧……好。", 4),
        ("hi", "यह एक है।यह दो है। और तीन॥", 3),
        ("es", "¿Cómo estás?¡Bien!", 2),
    ],
)
def test_sentences_end_without_a_space_too(language: str, text: str, count: int) -> None:
    longest = max(map(len, re.split(r"(?<=[。！？?।])", text)))
    assert len(split(text, language, first_chars=1, max_chars=longest)) == count


# --- split: packing ---------------------------------------------------------------------------------------


def test_the_first_segment_is_short_and_the_later_ones_are_full() -> None:
    text = " ".join(f"This is sentence number {n} of a long text." for n in range(40))
    first, *later, _ = split(text, "en")
    assert 0 < len(first.text) <= 120
    assert all(200 < len(s.text) <= 280 for s in later)
    assert all(s.text.endswith("text.") for s in later)


def test_a_long_first_sentence_starts_with_its_first_clause() -> None:
    text = (
        "When the long day was over and all had gone home, "
        + "nobody was left who could have told the others " * 3
    )
    assert split(text.strip(), "en")[0].text == "When the long day was over and all had gone home,"


def test_a_paragraph_ends_its_segment() -> None:
    segments = split("One. Two.\n\nThree.\nFour", "en")
    assert [(s.text, s.paragraph) for s in segments] == [
        ("One. Two.", True),
        ("Three.", True),
        ("Four", True),
    ]


def test_only_the_last_segment_of_a_paragraph_ends_it() -> None:
    segments = split("A few words make a sentence. " * 30 + "\n\nEnd.", "en")
    assert [s.paragraph for s in segments] == [False] * (len(segments) - 2) + [True, True]


def test_what_cannot_be_spoken_goes_with_its_neighbour() -> None:
    segments = split("…\n\nWe left. ... !\n\n***\n\nThey stayed.", "en")
    assert [squeezed(s.text) for s in segments] == ["…Weleft....!***", "Theystayed."]


@pytest.mark.parametrize("text", ["", "  ", "\n\n", " \n \n"])
def test_nothing_gives_no_segments(text: str) -> None:
    assert split(text, "en") == []


def test_an_unknown_language_is_split_all_the_same() -> None:
    assert len(split("Hello there. And again.", "xx", max_chars=13)) == 2


# --- split: sentences that are too long -------------------------------------------------------------------


def test_a_long_sentence_is_cut_after_a_clause() -> None:
    clause = "and then the small grey cat went on to the next house, "
    segments = split(clause * 20, "en")
    assert len(segments) > 3
    assert all(s.text.endswith("house,") for s in segments)


def test_a_long_chinese_sentence_is_cut_after_a_clause() -> None:
    segments = split("他走过了很长的路，" * 100, "zh")
    assert len(segments) > 3
    assert all(s.text.endswith("，") for s in segments)


def test_without_clauses_the_cut_is_between_words() -> None:
    words = ["word", "<laugh>", "3,141.59", "naïve", "don't", "10 000", "mot !"] * 200
    segments = split(" ".join(words), "fr")
    assert len(segments) > 20
    pattern = r"(?:word|<laugh>|3,141\.59|naïve|don't|10 000|mot !)"
    assert all(re.fullmatch(rf"{pattern}(?: {pattern})*", s.text) for s in segments)


@pytest.mark.parametrize(
    "unit",
    [
        "👩‍👩‍👧",
        "🇩🇪",
        "👍🏽",
        "q̃̄",
        "क्षि",
        "क्‍ष",
        "<laugh>",
        "中3,141.59",
        "文OpenAI",
        "好https://a.example/b?c=d",
    ],
)
@pytest.mark.parametrize("limit", [97, 280])
def test_without_spaces_the_cut_is_between_characters_and_never_inside_a_word_number_or_tag(
    unit: str, limit: int
) -> None:
    segments = split(unit * 400, "zh", max_chars=limit)
    assert len(segments) >= 400 * len(unit) // limit
    starts = {0, *(m.start() for m in re.finditer(re.escape(unit), unit * 400))}
    word_starts = {n + 1 for n in starts} if unit[0] in "中文好" else set()
    assert all(s.start in starts | word_starts and len(s.text) <= limit for s in segments)


def test_a_number_with_spaces_is_not_cut() -> None:
    segments = split("5 100 000 " * 150, "fr", max_chars=97)
    assert all(re.fullmatch("5 100 000(?: 5 100 000)*", s.text) for s in segments)


def test_an_abbreviation_ends_no_clause() -> None:
    segments = split("word " * 40 + "p.m. " + "word " * 22, "en")
    assert not segments[0].text.endswith("p.m.")


@pytest.mark.parametrize("words", ["word " * 60, "word word word word, " * 15])
def test_pieces_of_a_long_sentence_are_about_even(words: str) -> None:
    _, *later = split(f"First.\n\n{words}", "en")
    assert len(later) == 2
    assert min(len(s.text) for s in later) > 120


@pytest.mark.parametrize("limit", [1, 2, 7])
def test_a_tag_is_never_cut_even_where_it_is_longer_than_the_limit(limit: int) -> None:
    assert "<chuckle>" in [s.text for s in split("ab <chuckle> cd", "en", max_chars=limit)]


# --- split: whatever comes --------------------------------------------------------------------------------

AWKWARD = st.lists(
    st.sampled_from(
        [
            *' .?¿।。！—“”"()<>\n\t\u0301',
            *(
                "a",
                "Word",
                "你好",
                "क्षि",
                "e\u0301",
                "😀",
                "👩‍👩‍👧",
                "🇩🇪",
                "3,141.59",
                "1 000",
                "https://a.b/c?d=e",
            ),
            *(". ", "... ", "Dr. ", "e.g. ", ", ", "; ", "« ", " »", "\n\n", "<laugh>"),
        ]
    ),
    max_size=300,
).map("".join)


@given(AWKWARD | st.text(), st.sampled_from(LANGUAGES), st.integers(40, 300), st.integers(1, 150))
def test_nothing_is_lost_and_nothing_is_too_long(text: str, language: str, limit: int, first: int) -> None:
    segments = split(text, language, first_chars=first, max_chars=limit)
    assert squeezed("".join(s.text for s in segments)) == squeezed(text)
    assert all(
        squeezed(text[s.start : s.end]) == squeezed(s.text) and s.text == s.text.strip() != ""
        for s in segments
    )
    assert all(a.end <= b.start for a, b in pairwise(segments))
    assert all(len(s.text) <= limit for s in segments)


@given(AWKWARD, st.sampled_from(LANGUAGES))
def test_every_segment_of_a_clean_text_can_be_spoken(text: str, language: str) -> None:
    assert all(has_speech(s.text) for s in split(normalise(text, TAGS), language, max_chars=2_000))


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        ".",
        "<",
        "( ",
        "“",
        "“A. ",
        "他说“你。",
        "你",
        "Dr. ",
        "a, ",
        "🇩🇪",
        "\u0301",
        "<|",
        "3,1",
        " \n",
        "-a",
    ],
)
@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.timeout(10)
def test_a_long_text_of_one_kind_is_split_and_normalised_in_linear_time(unit: str, language: str) -> None:
    text = unit * (LONG // len(unit))
    normalise(text, TAGS)
    segments = split(text, language)
    assert all(len(s.text) <= 280 for s in segments)
    assert squeezed("".join(s.text for s in segments)) == squeezed(text)


@pytest.mark.parametrize("start", ["<custom_token", "<|", "<laugh", "Dr.", "a,"])
@pytest.mark.parametrize("filling", [" ", "\n", "a", "_", "5"])
@pytest.mark.timeout(10)
def test_a_long_filling_is_read_in_linear_time(start: str, filling: str) -> None:
    text = start + filling * LONG + "x>"
    assert has_speech(normalise(text, TAGS))
    assert squeezed("".join(s.text for s in split(text, "en"))) == squeezed(text)


def test_a_tag_keeps_the_spelling_of_the_catalog() -> None:
    assert normalise("<clears_throat> <HMM>", ["Clears_Throat", "hmm"]) == "<Clears_Throat> <hmm>"


# --- letters without a sound ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("Hello ᏣᎳᎩ.", "Hello tsa la gi."),
        ("aᏣb", "a tsa b"),
        ("ꦗꦮ꧉ ꦗ꧑", "ja wa꧉ ja꧑"),
        ("𑤀𑤰 ꦥꦺ", "a aa pa taling"),
        ("我𰀀你", "我 ideograph 3 0 0 0 0 你"),
        ("𘬀 ퟻ", "character 1 8 b 0 0 phieuph thieuth"),
        ("Hawaiʻi ʻOkina maꞌo", "Hawaiʻi ʻOkina maꞌo"),
        ("ʻ", "turned comma"),
        ("héllo", "héllo"),
    ],
)
def test_letters_without_a_sound_are_said_by_their_names(written: str, said: str) -> None:
    named = by_name(Traced.of(written), SOUNDLESS)
    assert named.text == said
    if written.startswith("Hello"):
        assert written[slice(*named.span(6, 15))] == "ᏣᎳᎩ"
