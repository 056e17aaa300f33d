"""What docs and profiles say of cards is what the server's own budget comes to."""

import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.cards import ORPHEUS_3B, PAGE, options, streams, written
from orpheus_openai.gpu.policy import GIB, Card
from orpheus_openai.models.orpheus.checkpoint import read_checkpoint
from orpheus_openai.settings import load_settings
from tests.support.paper_checkpoint import write_paper

PROFILES = Path(__file__).parents[2] / "deploy" / "profiles"


def test_the_table_of_cards_is_what_the_budget_comes_to():
    page = PAGE.read_text(encoding="utf-8")
    assert "| 80 GB |" in page
    assert page == written(page), "python -m benchmarks.cards --write brings it up to date"


def test_the_shape_that_the_table_reckons_with_is_that_of_the_checkpoint(tmp_path):
    checkpoint = read_checkpoint(write_paper(tmp_path))
    assert checkpoint.shape == ORPHEUS_3B.shape
    assert (checkpoint.weights.linear, checkpoint.weights.other) == (
        ORPHEUS_3B.weights.linear,
        ORPHEUS_3B.weights.other,
    )


@pytest.mark.parametrize(
    ("profile", "size", "says"),
    [("low-memory", 8, True), ("low-latency", 16, False), ("many-users", 48, True)],
)
def test_a_profile_fits_the_card_that_it_is_for_and_says_what_it_takes(profile, size, says):
    settings = load_settings({}, PROFILES / f"{profile}.env")
    wanted = int(settings.max_streams)
    changes: dict[str, Any] = {
        "max_streams": wanted,
        "max_model_len": settings.max_model_len,
        "quantization": settings.quantization or None,
        "codec_on_card": settings.snac_device != "cpu",
    }
    card = Card(0, round((size - 0.5) * GIB), size * GIB)
    assert streams(card, **changes)[0] == wanted
    said = re.findall(r"([\d.]+) GiB", (PROFILES / f"{profile}.env").read_text(encoding="utf-8"))[:1]
    taken = options(**changes).footprint(ORPHEUS_3B).total / GIB
    assert list(map(float, said)) == ([pytest.approx(taken, rel=0.015)] if says else [])
