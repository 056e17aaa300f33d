"""SSML: what people use of it is done, the rest is read through with a warning, and broken XML is told its place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orpheus_openai.errors import InvalidRequestError
from orpheus_openai.text.desk import Desk
from orpheus_openai.text.reading import ReadingRules
from orpheus_openai.text.ssml import MAX_DEPTH

DESK = Desk(["laugh"])


def read(text, **options):
    def reading_of(manner):
        return ReadingRules(language=manner.language or "en")

    return list(DESK.read(text, ReadingRules(language="en"), reading_of=reading_of, **options))


def said(inner):
    return [(s.text, s.silence) for s in read(f"<speak>{inner}</speak>")]


@pytest.mark.parametrize(
    ("inner", "expected"),
    [
        ("Hello &amp; so on.", [("Hello and so on.", None)]),
        ("One <break time='500ms'/>two<break strength='strong'/>three", [("One", None), ("two", 0.5), ("three", 0.7)]),
        ("<p><s>It is so.</s><s>And so it is now, too.</s></p>", [("It is so.\n\nAnd so it is now, too.", None)]),
        ("<sub alias='World Wide Web'>WWW</sub> 5", [("World Wide Web five", None)]),
        ("<say-as interpret-as='characters'>ABC</say-as>", [("A B C", None)]),
        ("<say-as interpret-as='digits'>123</say-as>", [("one two three", None)]),
        ("<say-as interpret-as='date'>2024-03-05</say-as>", [("March fifth, twenty twenty-four", None)]),
        ("a <![CDATA[b & c]]> <!-- no --> d", [("a b and c d", None)]),
        ("Gr&#252;&#xDF;e", [("Grüße", None)]),
    ],
)  # fmt: skip
def test_what_people_use_of_it_is_done(inner, expected):
    assert said(inner) == expected


@pytest.mark.parametrize(
    ("kind", "written", "language", "expected"),
    [
        ("ordinal", "3", "en", "third"),
        ("ordinal", "21", "en", "twenty-first"),
        ("ordinal", "3", "de", "dritter"),
        ("ordinal", "2", "fr", "deuxième"),
        ("ordinal", "3", "es", "tercero"),
        ("ordinal", "3", "it", "terzo"),
        ("ordinal", "3", "hi", "तीसरा"),
        ("ordinal", "3", "zh", "第三"),
        ("ordinal", "3", "ko", "세 번째"),
        ("cardinal", "1999", "en", "one thousand nine hundred ninety-nine"),
        ("cardinal", "-5", "en", "minus five"),
        ("number", "1.234", "de", "eintausendzweihundertvierunddreißig"),
        ("fraction", "11/12", "en", "eleven twelfths"),
        ("telephone", "555 0199", "en", "five five five, zero one nine nine"),
        ("telephone", "+33 1 23", "fr", "plus trente-trois, un, vingt-trois"),
        ("date", "3/5/2024", "en", "March fifth, twenty twenty-four"),
        ("date", "3.5.2024", "de", "dritter Mai zweitausendvierundzwanzig"),
        ('date" format="dmy', "3/5/2024", "en", "May third, twenty twenty-four"),
        ('date" format="md', "3/5", "en", "March fifth"),
        ('date" format="my', "3/2024", "fr", "mars deux mille vingt-quatre"),
        ("date", "2024-3-5", "ko", "이천이십사년 삼월 오일"),
        ("spell-out", "A.B-C", "en", "A . B - C"),
        ("time", "9:30PM", "en", "nine thirty PM"),
        ("ordinal", "the first", "en", "the first"),
        ("date", "99/99/9999", "en", "ninety-nine ninety-nine nine thousand nine hundred ninety-nine"),
    ],
)
def test_what_something_is_said_as(kind, written, language, expected):
    text = (
        f'<speak><lang xml:lang="{language}"><say-as interpret-as="{kind}">{written}</say-as></lang></speak>'
    )
    (segment,) = read(text)
    assert segment.text == expected
    assert text[slice(*segment.trace.span(0, len(expected)))] == written


def test_voices_languages_and_rates_hold_for_what_they_hold():
    text = (
        '<?xml version="1.0"?>\n<speak xml:lang="en-US">One. <voice name="leo">Two. <lang xml:lang="de-DE">3.</lang> '
        '</voice><prosody rate="slow">Four. <prosody rate="+100%">Five.</prosody></prosody></speak>'
    )
    manners = [(s.text, s.manner.voice, s.manner.language, s.manner.rate) for s in read(text)]
    assert manners == [
        ("One.", "", "", 1.0),
        ("Two.", "leo", "", 1.0),
        ("drei.", "leo", "de", 1.0),
        ("Four.", "", "", 0.75),
        ("Five.", "", "", 1.5),
    ]


def test_the_rest_is_read_through_with_a_warning():
    warnings: list[str] = []
    (segment,) = read(
        "<speak><emphasis>So</emphasis> <prosody pitch='high'>it</prosody> is.</speak>", warnings=warnings
    )
    assert segment.text == "So it is."
    assert warnings == [
        "<emphasis> has no effect; the text inside it is read.",
        "<prosody pitch> has no effect; only its rate has.",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<speak>a & b</speak>", "line 1, column 11: not well-formed"),
        ("<speak>\n<b>a</c></speak>", "line 2, column 7: mismatched tag"),
        ("<speak>", "no element found"),
        ("<speak>&nbsp;</speak>", "column 8: undefined entity"),
        ('<?xml version="1.0"?><speak>&x;</speak>', "undefined entity"),
        ("<speak>" + "<p>" * MAX_DEPTH, f"more than {MAX_DEPTH} elements inside each other"),
        ("<speak>\x00</speak>", "not well-formed"),
        ("<speak>\ud800<", "line 1"),
        ("<speak><break time='soon'/></speak>", 'column 8: a break of "soon"'),
        ("<speak><prosody rate='quick'>a</prosody></speak>", 'a rate of "quick"'),
        ("<speak>a</speak> b", "junk after document element"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(text, words):
    with pytest.raises(InvalidRequestError, match="The SSML cannot be read at line") as refused:
        read(text)
    assert words in refused.value.message


def test_there_are_no_entities_but_xmls_own_and_nothing_is_fetched():
    bomb = '<!DOCTYPE x [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]>'
    for text in (f"<speak>{bomb}&b;</speak>", '<speak><!DOCTYPE x SYSTEM "file:///etc/passwd"></speak>'):
        with pytest.raises(InvalidRequestError):
            read(text)
    # Not at its start: then it is no document, but a text with markup.
    assert not any("aa" in s.text for s in read(f"{bomb}<speak>&b;</speak>"))


def test_a_text_that_does_not_begin_with_it_or_is_not_cleaned_is_no_document():
    assert "speak" in read("Say <speak>.")[0].text
    (segment,) = DESK.read(
        "<speak>A & B</speak>", ReadingRules(language="en", cleaning=False, numbers="as_is")
    )
    assert segment.text == "<speak>A & B</speak>"


PIECES = st.lists(
    st.sampled_from(
        [
            "word ",
            "é ",
            "你好",
            "&amp;",
            "&#65;",
            "\r\n",
            "<p>a</p>",
            "<break/>",
            "<sub alias='x y'>b</sub>",
            "<!-- c -->",
            "<voice name='leo'>d. </voice>",
            "<![CDATA[e]]>",
            "<say-as interpret-as='digits'>12</say-as>",
            "😀",
        ]
    )
).map("".join)


@given(PIECES)
def test_every_word_is_found_at_its_place_in_the_document(inner):
    text = f"<speak>{inner}</speak>"
    reached = 0
    for segment in read(text):
        assert reached <= segment.start <= segment.end <= len(text)
        reached = segment.end
        for word in ("word", "é", "你好"):
            at = segment.text.find(word)
            if at >= 0:
                start, end = segment.trace.span(at, at + len(word))
                assert text[start:end] == word
