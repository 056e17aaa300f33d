"""The house is as its map says, and stands as its rules demand."""

import pytest

from benchmarks.house import HERE, MAP, House, mapped

ONE_IDEA = {
    "add_arguments": "each command of the command line has one",
    "run": "each command of the command line has one",
    "main": "each program of its own has one",
    "Child": "a process, as the server and as its parent see it",
    "Parent": "the process that forks, as the server sees it and from within",
}
"""Names that mean the same thing in each of the modules where they stand."""


@pytest.fixture(scope="module")
def house():
    return House(HERE)


def test_the_map_names_every_room_and_module_in_its_own_words(house):
    page = (HERE / MAP).read_text(encoding="utf-8")
    up_to_date = page == mapped(page, house)
    assert up_to_date, "python -m benchmarks.house --write brings it up to date"


def test_no_modules_import_each_other_in_a_circle(house):
    assert house.circles() == []


def test_no_import_runs_back_up(house):
    assert house.upward() == []


def test_the_facts_of_a_speech_are_written_in_one_place(house):
    assert house.tellers() == ["orpheus_openai.speech.report"]


def test_no_name_stands_for_two_things(house):
    found = set(house.namesakes())
    assert found == set(ONE_IDEA), "rename one of the two, or say above why they are one idea"
