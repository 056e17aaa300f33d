"""The house is as its map says, and stands as its rules demand."""

from benchmarks.house import HERE, MAP, House, mapped


def test_the_map_names_every_room_and_module_in_its_own_words():
    page = (HERE / MAP).read_text(encoding="utf-8")
    assert page == mapped(page, House(HERE)), "python -m benchmarks.house --write brings it up to date"


def test_no_modules_import_each_other_in_a_circle():
    assert House(HERE).circles() == []


def test_no_import_runs_back_up():
    assert House(HERE).upward() == []


def test_the_facts_of_a_speech_are_written_in_one_place():
    assert House(HERE).tellers() == ["orpheus_openai.speech.report"]
