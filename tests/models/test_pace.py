"""How fast speech is made here is measured, kept, and told with what would help."""

import socket

import msgspec
import pytest

from orpheus_openai import doctor
from orpheus_openai.banner import announce
from orpheus_openai.catalog import load_catalog
from orpheus_openai.models.factory import ModelFactory
from orpheus_openai.models.orpheus.gguf_header import read_header
from orpheus_openai.models.orpheus.pace import MOST_KEPT, Pace, keep, kept
from orpheus_openai.settings import Settings

SLOW = Pace(tokens_per_second=41.0, quantisation="Q8_0", device="CPU", threads=2)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_what_keeps_up_needs_no_advice():
    pace = msgspec.structs.replace(SLOW, tokens_per_second=95.0)
    assert (pace.keeps_up, pace.advice) == (True, "")
    assert pace.real_time_factor == pytest.approx(0.863, abs=0.001)


@pytest.mark.parametrize(
    ("changed", "told", "untold"),
    [
        ({}, ["0.50 × real time", "41 tokens a second of the 82", "q4_k_m", "cores than the 2", "graphics card"], []),
        ({"quantisation": "Q4_K_M"}, ["graphics card"], ["smaller quantisation"]),
        ({"threads": 16}, ["faster memory"], ["cores"]),
        ({"device": "NVIDIA A2"}, ["ORPHEUS_GPU_LAYERS"], ["cores", "memory"]),
    ],
)  # fmt: skip
def test_what_is_too_slow_is_told_how_far_off_it_is_and_what_helps(changed, told, untold):
    advice = msgspec.structs.replace(SLOW, **changed).advice
    assert all(words in advice for words in told)
    assert not any(words in advice for words in untold)


def test_a_measure_is_kept_for_the_next_start_and_belongs_to_its_file(cache, tiny_gguf, tmp_path):
    header = read_header(tiny_gguf)
    assert kept(tiny_gguf) is None
    keep(header, SLOW)
    assert kept(tiny_gguf) == SLOW
    assert kept(tmp_path / "missing.gguf") is None
    (cache / "orpheus-openai/paces.json").write_text("[1")
    assert kept(tiny_gguf) is None
    keep(header, SLOW)
    assert kept(tiny_gguf) == SLOW


def test_no_more_measures_are_kept_than_there_is_a_bound_for(cache, tiny_gguf, tmp_path):
    header = read_header(tiny_gguf)
    for number in range(MOST_KEPT + 5):
        path = tmp_path / f"{number}.gguf"
        path.touch()
        keep(msgspec.structs.replace(header, path=path), SLOW)
    assert kept(tmp_path / "0.gguf") is None
    assert kept(tmp_path / f"{MOST_KEPT + 4}.gguf") == SLOW


def test_a_folder_that_cannot_be_written_to_keeps_nothing(tiny_gguf, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    keep(read_header(tiny_gguf), SLOW)
    assert kept(tiny_gguf) is None


def test_banner_and_doctor_tell_it(cache, tiny_gguf, monkeypatch, capsys):
    monkeypatch.setenv("ORPHEUS_MODEL_MEDIUM_3B", str(tiny_gguf))
    settings = Settings(checkpoints={"ORPHEUS_MODEL_MEDIUM_3B": str(tiny_gguf)})
    catalog = load_catalog(None)
    model = catalog.models["medium-3b"]
    assert ModelFactory(settings, catalog).pace(model) == ""
    keep(read_header(tiny_gguf), SLOW)
    pace = ModelFactory(settings, catalog).pace(model)
    assert pace.startswith("0.5 × real time. Speech will not keep up")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        announce(listener, "medium-3b", [], "text", pace=pace)
    assert "Speed  0.5 × real time. Speech will not" in capsys.readouterr().err
    found = next(f for f in doctor.examine() if "spoke at 0.5 × real time" in f.what)
    assert not found.ok
    assert "smaller quantisation than Q8_0" in found.advice
    keep(read_header(tiny_gguf), msgspec.structs.replace(SLOW, tokens_per_second=95.0))
    assert any(
        f.what == "medium-3b spoke at 1.2 × real time when it was loaded last" for f in doctor.examine()
    )
    assert ModelFactory(settings, catalog).pace(catalog.models["preview"]) == ""
