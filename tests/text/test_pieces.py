"""A text that is still being written is cut where what has come can be spoken, however it comes in."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orpheus_openai.catalog import load_catalog
from orpheus_openai.text import pieces
from orpheus_openai.text.desk import Desk
from orpheus_openai.text.pieces import WITHIN_MARKUP, WITHOUT_END, Pieces
from orpheus_openai.text.reading import ReadingRules
from orpheus_openai.text.turns import Cast

CATALOG = load_catalog()
DESK = Desk(CATALOG.emotion_tags, CATALOG.directions)

TEXTS = {
    "en": (
        "Good morning, everybody, and welcome. Dr. Smith paid $3.14 for 1,000 km at 5 p.m. on Jan. 5, 2024 (see p. 7). "
        "“Really?” she asked. “Yes!” <laugh> Well... maybe. He said: **It is. It really is.** Then [read this. Now]"
        "(https://example.com/a.b?c=d) he left.\n\n# A title\n\n1. First. It is so.\n2. Second! *Not so. No.*\n\n"
        "<think>Hm. I wonder. Should I?</think>Here is code:\n\n```python\nprint(1). Then. That.\n```\n\nAfter it. "
        "A fact.[1] Another. [2] The U.S. economy; the end. [pause 1s] It grew by 3.5 % — e.g. in the 1990s. Bye!"
    ),
    "fr": (
        "Bonjour à tous, et bienvenue ici. M. Dupont a payé 3,50 € à 14 h 30. « Vraiment ? » dit-elle. Oui ! "
        "Le 1er mai 2024, il partit. Mme Curie, p. ex., a 10 000 livres. C’est **fini. Vraiment.** Au revoir."
    ),
    "de": (
        "Guten Morgen zusammen, und willkommen. Dr. Maier zahlte am 3. Mai 2024 z. B. 3,14 € für 1.000 km. "
        "„Wirklich?“, fragte sie. Ja! Der 2. Versuch usw. gelang. Das war's (fast. Nicht ganz.) Gut so."
    ),
    "es": (
        "Buenos días a todos, y bienvenidos. El Sr. Pérez pagó 3,50 € a las 14:30. ¿De verdad? ¡Sí! Fue el 5 de mayo "
        "de 2024. La Dra. Ruiz vino, p. ej., ayer. *Todo bien. De veras.* Adiós."
    ),
    "it": (
        "Buongiorno a tutti, e benvenuti qui. Il Dott. Rossi pagò 3,50 € alle 14:30. Davvero? Sì! "
        "Era il 5 maggio 2024. Il sig. Bianchi, ad es., venne ieri. Poi… niente. Arrivederci."
    ),
    "hi": (
        "सभी को नमस्ते, और आपका स्वागत है। डॉ. शर्मा ने ₹3.50 दिए। क्या सच में? हाँ! यह 5 मई 2024 था। फिर वे चले गए; "
        "और 1,000 किमी चले। अलविदा।"
    ),
    "ko": (
        "여러분 안녕하세요, 그리고 환영합니다. 김 박사는 3.5달러를 냈습니다. 정말요? 네! 2024년 5월 5일이었습니다. "
        "그는 1,000 km를 갔습니다. 안녕히 계세요."
    ),
    "zh": (
        "大家早上好，欢迎来到这里。史密斯博士付了3.14元。“真的吗？”她问。是的！那是2024年5月5日。他走了1,000公里；"
        "然后……就没有了。**完了。真的。**再见。"
    ),
}


def reading(language, **options):
    return ReadingRules(language=language, **options)


def words(segments):
    return re.findall(r"[^\W_]+|<\w+>", " ".join(segment.text for segment in segments))


def pieces_of(deltas, language, **options):
    pieces = Pieces(language, **options)
    found = [piece for delta in deltas for piece in pieces.feed(delta)]
    return found + pieces.end()


def dictated(pieces, language, cast=None):
    dictation = DESK.dictated(reading(language), cast=cast)
    segments = [segment for piece in pieces for segment in dictation.read(piece)]
    return segments + list(dictation.end())


def cut_at(text, places):
    edges = [0, *sorted({place % (len(text) + 1) for place in places}), len(text)]
    return [text[a:b] for a, b in pairwise(edges)]


@pytest.mark.parametrize("language", TEXTS)
@given(places=st.lists(st.integers(0, 10_000), max_size=60))
def test_any_cutting_of_a_text_gives_the_same_pieces(language, places):
    text = TEXTS[language]
    assert pieces_of(cut_at(text, places), language) == pieces_of([text], language)


@pytest.mark.parametrize("language", TEXTS)
def test_letter_by_letter_the_words_are_those_of_the_whole_text(language):
    text = TEXTS[language]
    spoken = dictated(pieces_of(text, language), language)
    assert words(spoken) == words(DESK.read(text, reading(language)))
    assert len(spoken) > 4


@given(
    text=st.text(alphabet=" \n.,!?;:()[]*_`<>/\"'~#-|3aBé。，你😀\r", max_size=120),
    places=st.lists(st.integers(0, 120)),
)
def test_any_cutting_of_any_characters_gives_the_same_pieces_that_cover_the_text_in_order(text, places):
    pieces = pieces_of(cut_at(text, places), "en")
    assert pieces == pieces_of([text], "en")
    assert all(text[piece.start : piece.end] == piece.source.text for piece in pieces)
    assert all(a.end <= b.start for a, b in pairwise(pieces))


@pytest.mark.parametrize(
    ("so_far", "complete"),
    [
        ("Hello there. ", []),
        ("Hello there. H", ["Hello there."]),
        ("I saw Dr. ", []),
        ("I saw Dr. Smith", []),
        ("It costs 3.", []),
        ("It costs 3. 5", []),
        ("Am 3. Mai", []),
        ("Good morning, everybody, a", ["Good morning, everybody,"]),
        ("Hello, my", []),
        ("He said (so it is. And", []),
        ("It is **so. And", []),
        ("你好。", []),
        ("你好。我", ["你好。"]),
        ("A title\n\nA", ["A title"]),
        ("A title\nNext", ["A title"]),
        ("a line that was wrapped\nhere", []),
        ("One.\n- Two", ["One."]),
        ("| a. | b |\n", []),
        ("So it is.[1] A", ["So it is.[1]"]),
        ("Wait... what", []),
        ("Go <laugh> now. <la", ["Go <laugh> now."]),
        ("<speak>One. Two. Three", []),
        ("<think>One. Two. Three", []),
        ("<think>One. Two.</think>Three. F", ["<think>One. Two.</think>Three."]),
    ],
)
def test_a_piece_is_complete_when_it_can_be_nothing_else(so_far, complete):
    assert [piece.source.text for piece in Pieces("en").feed(so_far)] == complete


@pytest.mark.parametrize(
    ("so_far", "alone"),
    [
        ("Hello there.", "Hello there."),
        ("Hello there. ", "Hello there."),
        ("That was Dr.", None),
        ("It costs 3.", None),
        ("Well, it is as I have said, and", "Well, it is as I have said,"),
        ("Hello", None),
        ("It is **so.", None),
        ("<think>Done.", None),
        ("完了。", "完了。"),
    ],
)
def test_what_can_stand_alone_need_not_wait_for_more(so_far, alone):
    pieces = Pieces("en", clauses="none")
    assert pieces.feed(so_far) == []
    assert [piece.source.text for piece in pieces.pause()] == ([] if alone is None else [alone])


@pytest.mark.parametrize(
    ("so_far", "flushed", "later"),
    [
        ("Hello the", ["Hello the"], ["re"]),
        ("Hello <lau", ["Hello"], ["<laure"]),
        ("Hello <think>No. No.", ["Hello"], ["<think>No.", "No.re"]),
        ("...", [], ["...re"]),
    ],
)
def test_a_flush_gives_all_but_what_is_open(so_far, flushed, later):
    pieces = Pieces("en")
    pieces.feed(so_far)
    assert [piece.source.text for piece in pieces.flush()] == flushed
    pieces.feed("re")
    assert [piece.source.text for piece in pieces.end()] == later


@pytest.mark.parametrize("filling", ["word ", "长", "(word ", "**word ", "a1 "])
def test_what_never_ends_is_cut_all_the_same(filling):
    pieces = Pieces("en").feed(filling * 4_000)
    assert len(pieces) > 4_000 * len(filling) / WITHIN_MARKUP - 2
    assert max(piece.end - piece.start for piece in pieces) <= (
        WITHIN_MARKUP if "(" in filling or "*" in filling else WITHOUT_END
    )


@given(places=st.lists(st.integers(0, 10_000), max_size=30))
def test_who_speaks_does_not_depend_on_the_cutting(places):
    text = "Anna: Hello. How are you? Well. Ben: no name here.\nBen: Fine, thank you very much. Ha!\n\nThey left. So."
    cast = Cast(["Anna", "Ben"])
    spoken = dictated(pieces_of(cut_at(text, places), "en"), "en", cast)
    said = [(s.manner.voice, word) for s in spoken for word in s.text.split()]
    whole = DESK.read(text, reading("en"), cast=cast)
    assert said == [(s.manner.voice, word) for s in whole for word in s.text.split()]


def test_spans_are_the_whole_texts_and_a_silence_at_the_end_is_kept():
    text = "One is $5 now. Two is 3 km. [pause 2s]"
    spoken = dictated(pieces_of(text, "en"), "en")
    assert [text[s.start : s.end] for s in spoken] == ["One is $5 now.", "Two is 3 km.", ""]
    assert spoken[-1].silence == 2.0
    assert [s.paragraph for s in spoken] == [False, False, True]


@pytest.mark.parametrize("unit", ["a", "a ", "长", ". ", "[", "`a ", "<", "U.S.A. "])
def test_twice_the_text_is_twice_the_work_however_it_comes(unit, monkeypatch):
    looked = []

    class Counted:
        def search(self, text, start):
            looked.append(len(text) - start)
            return mark.search(text, start)

    mark = pieces._MARK
    monkeypatch.setattr(pieces, "_MARK", Counted())
    work = []
    for length in (4_000, 8_000):
        looked.clear()
        Pieces("en").feed((unit * length)[:length])
        work.append(sum(looked))
    assert work[1] < 2.5 * work[0]


@pytest.mark.timeout(60)
def test_a_run_of_marks_is_gone_through_once():
    assert Pieces("en").feed("." * 40_000)
