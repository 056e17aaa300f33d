"""Figures and signs are said as people say them, in each of the languages."""

import re
import tomllib
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orpheus_openai.text.desk import Desk
from orpheus_openai.text.fold import fold
from orpheus_openai.text.numbers import read
from orpheus_openai.text.numbers.read import in_words
from orpheus_openai.text.reading import ReadingRules
from orpheus_openai.text.trace import Traced

SCRIPTS = {"ko": "HANGUL", "hi": "DEVANAGARI", "zh": "CJK"}
LANGUAGES = ["en", "fr", "de", "ko", "hi", "zh", "es", "it"]
GOLDEN = tomllib.loads(Path(__file__).with_name("numbers.toml").read_text(encoding="utf-8"))
CASES = [
    pytest.param(language, *row, id=f"{language}-{kind}-{row[0]}")
    for language, kinds in GOLDEN.items()
    for kind, rows in kinds.items()
    for row in rows
]
DOCS = Path(__file__).parents[2] / "docs/text.md"
DESK = Desk(["laugh"])


def said(text, language, **reading):
    return " ".join(p.text for p in DESK.paragraphs(text, ReadingRules(language=language, **reading)))


@pytest.mark.parametrize(("language", "written", "spoken"), CASES)
def test_what_is_said_of_figures_and_signs(language, written, spoken):
    assert said(written, language) == spoken


@pytest.mark.parametrize(("language", "written", "spoken"), CASES)
def test_what_is_in_words_stays_as_it_is(language, written, spoken):
    assert said(spoken, language) == spoken


@pytest.mark.parametrize(("language", "written", "spoken"), CASES)
def test_as_is_leaves_figures_and_signs_alone(language, written, spoken):
    assert said(written, language, numbers="as_is", cleaning=False) == written


def test_the_documentation_tells_what_is_said():
    lines = [
        line
        for line in DOCS.read_text(encoding="utf-8").splitlines()
        if line.count("|") == len(LANGUAGES) + 2
    ]
    languages = [name.strip() for name in lines[0].split("|")[2:-1]]
    assert sorted(languages) == sorted(LANGUAGES)
    kinds = {kind for rows in GOLDEN.values() for kind in rows} - {"kept"}
    cells = {row.split("|")[1].strip(): [cell.strip() for cell in row.split("|")[2:-1]] for row in lines[2:]}
    assert set(cells) == kinds
    for kind, row in cells.items():
        for language, cell in zip(languages, row, strict=True):
            rows = GOLDEN[language].get(kind)
            assert cell == (f"{rows[0][0]}: {rows[0][1]}" if rows else "missing"), (kind, language)


# --- signs and digits of other scripts ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("language", "written", "spoken"),
    [
        ("zh", "价格是１２３元", "价格是一百二十三元"),
        ("zh", "ＡＢＣ公司", "ABC公司"),
        ("zh", "$5 ₹500", "五美元 五百卢比"),
        ("ko", "３월", "삼월"),
        ("hi", "₹500", "पाँच सौ रुपये"),
        ("en", "１２３", "one hundred twenty-three"),
        ("en", "𝗕𝗼𝗹𝗱 𝓼𝓽𝔂𝓵𝓮 ﬁne ㎏", "Bold style fine kg"),
        ("en", "① ❿ ⑳ Ⓐ", "one ten twenty A"),
        ("en", "🅷🅴🅻🅻🅾 🄷🄸 🅗, 🅰️ first 🄂 🆗", "HELLO HI H, A first one,"),
        ("en", "↉", "vulgar fraction zero thirds"),
        ("en", "٣٤ ३ ๕", "thirty-four three five"),
        ("en", "x² and ½", "x squared and one half"),
        ("en", "＄５", "five dollars"),
        ("en", "CO₂, H₂O and x₁", "CO2, H2O and x1"),
        ("en", "⁷⁵⁴ ₀₁₇ study⁴", "seven hundred fifty-four zero one seven study four"),
        ("en", "the 1ˢᵗ of xⁿ", "the first of xn"),
        ("en", "୳", "one half"),
        ("en", "x ∈ A, ∠ABC", "x element of A, angle ABC"),
        ("en", "a ⋅ b", "a ⋅ b"),
        ("en", "℗ 1999, Apple℠", "sound recording copyright nineteen ninety-nine, Apple service mark"),
        ("fr", "quel № ?", "quel numéro ?"),
        ("en", "10⁷ 2²³ x⁴", "ten to the power of seven two to the power of twenty-three x to the power of four"),
        ("en", "(a)⁵ m² 5 m³", "(a) to the power of five m squared five cubic meters"),
        ("en", "10⁻³", "ten to the power of minus three"),
        ("de", "10⁻³", "zehn hoch minus drei"),
        ("fr", "10⁻³", "dix puissance moins trois"),
        ("es", "10⁻³", "diez elevado a menos tres"),
        ("it", "10⁻³", "dieci elevato a meno tre"),
        ("hi", "10⁻³", "दस की घात माइनस तीन"),
        ("ko", "10⁻³", "십의 마이너스 삼제곱"),
        ("zh", "10⁻³", "十的负三次方"),
        ("zh", "！，。：", ""),
        ("en", "€", "euros"),
    ],
)  # fmt: skip
def test_what_counts_as_speech_is_given_in_words(language, written, spoken):
    assert said(written, language) == spoken


CURRENCY_NAMES = {
    "$": "dollars", "¢": "cents", "£": "pounds", "¤": "currency", "¥": "yen", "֏": "Armenian drams",
    "؋": "Afghan Afghanis", "߾": "dorome", "߿": "taman", "৲": "Bangladeshi takas", "৳": "Bangladeshi takas",
    "৻": "ganda", "૱": "rupees", "௹": "rupees", "฿": "Thai baht", "៛": "Cambodian riels", "₠": "ecu",
    "₡": "Costa Rican colóns", "₢": "Brazilian cruzeiros", "₣": "French francs", "₤": "Italian liras", "₥": "mill",
    "₦": "Nigerian nairas", "₧": "Spanish pesetas", "₨": "rupees", "₩": "won", "₪": "Israeli new shekels",
    "₫": "Vietnamese dong", "€": "euros", "₭": "Laotian kips", "₮": "Mongolian tugriks", "₯": "Greek drachmas",
    "₰": "pfennig", "₱": "Philippine pesos", "₲": "Paraguayan guaranis", "₳": "Argentine australs",
    "₴": "Ukrainian hryvnias", "₵": "Ghanaian cedis", "₶": "livre tournois", "₷": "spesmilo",
    "₸": "Kazakhstani tenges", "₹": "rupees", "₺": "Turkish Lira", "₻": "mark", "₼": "Azerbaijani manats",
    "₽": "Russian rubles", "₾": "Georgian laris", "₿": "bitcoins", "⃀": "Kyrgyz soms", "\u20c1": "Saudi riyals",
    "꠸": "rupees", "﷼": "rials", "﹩": "dollars", "＄": "dollars", "￠": "cents", "￡": "pounds", "￥": "yen",
    "￦": "won", "𑿝": "kaacu", "𑿞": "panam", "𑿟": "pon", "𑿠": "varaakan", "𞋿": "ngun", "𞲰": "rupee",
}  # fmt: skip
"""Every sign of a currency that Unicode has, in English."""


def test_every_sign_of_a_currency_has_its_name():
    known = {chr(code) for code in range(0x20000) if unicodedata.category(chr(code)) == "Sc"}
    assert known <= CURRENCY_NAMES.keys()
    for sign, name in CURRENCY_NAMES.items():
        assert said(f"5 {sign}", "en") == f"five {name}"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_sign_of_a_currency_is_said_in_what_the_language_can_say(language):
    """Not in Arabic, by a code, by its years, nor as a part of the figure's own word."""
    five = said("5", language)
    own = "LATIN" if language in "en fr de es it".split() else SCRIPTS[language]
    for sign in CURRENCY_NAMES:
        told = said(f"5 {sign}", language)
        name = told.removeprefix(five).strip()
        assert told != name
        assert name
        assert {unicodedata.name(char).split()[0] for char in name if char.isalpha()} <= {own, "LATIN"}
        assert not name.isupper() or own != "LATIN"
        assert "(" not in name
        if sign not in "¢￠":
            assert said(f"{sign}5", language) == told


@pytest.mark.parametrize(
    ("language", "spoken"),
    [
        ("hi", "पाँच peseta पाँच रुपये पाँच रियाल"),
        ("zh", "五西班牙比塞塔五卢比五里亚尔"),
        ("de", "fünf Spanische Peseten fünf Rupien fünf Rial"),
    ],
)
def test_signs_that_one_language_lacks_are_said_by_unicodes_name(language, spoken):
    told = said("₧5 ₨5 ﷼5", language)
    assert told.replace(" ", "") == spoken.replace(" ", "")


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_digit_is_said(language):
    digits = [chr(code) for code in range(0x20000) if unicodedata.category(chr(code)) == "Nd"]
    for digit in digits:
        name = said(str(unicodedata.digit(digit)), language)
        assert said(f" {digit} ", language) == name != ""


def test_punctuation_is_as_wide_as_it_was():
    assert fold(Traced.of("你好！真的吗？，；：（）「」"), "zh").text == "你好！真的吗？，；：（）「」"


def test_digits_of_other_scripts_are_plain_ones_but_for_a_languages_own():
    assert fold(Traced.of("٣٠ १०"), "hi").text == "30 १०"


# --- whatever comes -----------------------------------------------------------------------------------------

FIGURES = st.lists(
    st.sampled_from(
        [*"0123456789.,:/-–+$€%°#()' ", "km", "PM", "st", "½", "№", "Mrd.", "元", "월", "a", "٣"]
    ),
    max_size=40,
).map("".join)


@given(FIGURES | st.text(), st.sampled_from(LANGUAGES))
def test_every_word_is_traced_to_its_figures(text, language):
    worded = in_words(fold(Traced.of(text), language), language)
    reached = 0
    for word in re.finditer(r"\S+", worded.text):
        start, end = worded.span(*word.span())
        assert 0 <= start <= end <= len(text)
        assert end >= reached
        reached = end


@given(FIGURES, st.sampled_from(LANGUAGES))
def test_no_figure_is_left_that_stands_alone(text, language):
    assert not re.search(r"(?<![^\W_])\d+(?![^\W_])", in_words(Traced.of(text), language).text)


@pytest.mark.parametrize(
    "unit", ["7", "7 ", "1.", "1,", "1,111", "$1", "1/", "+1 ", "1-", "1:00 ", "½", "3rd ", "5 km ", "%"]
)
@pytest.mark.parametrize("language", ["en", "de", "zh"])
@pytest.mark.timeout(30)
def test_no_pattern_makes_more_than_a_bounded_number_of_words_of_a_figure(unit, language):
    text = (unit * 10_000)[:10_000]
    assert len(in_words(Traced.of(text), language).text) < 60 * len(text)


def test_a_text_without_figures_is_not_looked_through(monkeypatch):
    monkeypatch.setattr(Traced, "sub", lambda *_: pytest.fail("looked through"))
    text = Traced.of("Words, and more words: “so it is!”")
    assert in_words(text, "en") is text


def test_the_tables_of_a_language_are_read_once(monkeypatch):
    in_words(Traced.of("5"), "it")
    assert read.tables_are_read("it")
    assert DESK.ready(ReadingRules(language="it", cleaning=False))
    assert DESK.ready(ReadingRules(language="xx", numbers="as_is", cleaning=False))
