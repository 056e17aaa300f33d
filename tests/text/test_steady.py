"""What derails a model is kept from it: single words alone, lines without an end, cries of many marks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orpheus_openai.text.desk import Desk
from orpheus_openai.text.reading import ReadingRules
from orpheus_openai.text.split import SHORT_LINE

DESK = Desk(["laugh"])
LONG = "This line is long enough to be spoken on its own, as it is"


def prompts(text, language="en", **reading):
    return [s.prompt for s in DESK.read(text, ReadingRules(language=language, **reading))]


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("en", "Milk\n\nBread\n\nButter", ["Milk. Bread. Butter."]),
        ("en", "* milk\n* bread!\n* butter <laugh>", ["milk. bread! butter <laugh>"]),
        ("en", f"Title\n\n{LONG}.\n\nYes", [f"Title. {LONG}. Yes."]),
        ("en", f"{LONG}\n\n{LONG}", [f"{LONG}.", f"{LONG}."]),
        ("en", "Hello!!! What?? Well... “Yes”", ["Hello! What? Well... “Yes”."]),
        ("zh", "你好", ["你好。"]),
        ("hi", "नमस्ते", ["नमस्ते।"]),
        ("en", "He said:", ["He said:"]),
        ("en", "(It was so.)", ["(It was so.)"]),
    ],
)
def test_what_a_model_is_given(language, text, expected):
    assert prompts(text, language) == expected


def test_the_text_itself_has_no_marks_put_in():
    (segment,) = DESK.read("Milk\n\nBread!!", ReadingRules(language="en"))
    assert (segment.text, segment.prompt) == ("Milk\n\nBread!!", "Milk. Bread!")
    assert (segment.start, segment.end) == (0, 13)


def test_a_sentence_that_is_cut_gets_no_full_stop_inside():
    given = prompts("and so it went on and on " * 40)
    assert len(given) > 3
    assert [p.endswith(".") for p in given] == [False] * (len(given) - 1) + [True]


def test_long_lines_are_spoken_on_their_own():
    assert len(prompts("\n\n".join([LONG] * 5))) == 5


@given(
    st.lists(
        st.sampled_from(["a", "word", "Title", "x" * SHORT_LINE, LONG, LONG + "."]), min_size=1, max_size=30
    )
)
def test_no_line_is_lost_and_no_prompt_is_too_long(lines):
    given = prompts("\n\n".join(lines))
    assert " ".join(given).replace(".", "").split() == " ".join(lines).replace(".", "").split()
    assert all(len(prompt) <= 280 + 40 for prompt in given)


def test_without_cleaning_the_prompt_is_the_text():
    assert prompts("Milk\n\nBread!!", cleaning=False, numbers="as_is") == ["Milk", "Bread!!"]
