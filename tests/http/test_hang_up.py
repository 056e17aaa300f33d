"""The hang-up benchmark: the server's log says when a speech ended, and whether its listener ended it."""

import json
from typing import Literal

import pytest

from benchmarks.hang_up import HangUp, measure, read_ends, summarise, table


def left(way: Literal["RST", "FIN"], after: float | None, outcome: str | None = "cancelled") -> HangUp:
    ended = None if after is None else 100 + after
    return HangUp(way, "req_1", 100.0, 0.0001, 0.002, 0.001, 0.003, ended, outcome)


def test_the_end_of_each_speech_is_read_from_the_log_to_the_microsecond() -> None:
    entries = [
        {"time": "2026-01-01T00:00:00.250001+00:00", "message": "loaded"},
        {"time": "2026-01-01T00:00:00.500002+00:00", "request_id": "req_1", "outcome": "cancelled"},
        {
            "time": "2026-01-01T00:00:01+00:00",
            "request_id": "req_2",
            "message": "GET /v1/models 200 in 0.001 s",
        },
    ]
    log = "\n".join(["", "orpheus-openai is ready", "  Model  preview", *map(json.dumps, entries), ""])
    at, outcome = read_ends(log)["req_1"]
    assert (round(at % 1, 6), outcome) == (0.500002, "cancelled")
    assert set(read_ends(log)) == {"req_1"}


def test_each_way_to_hang_up_has_figures_of_its_own_beside_goal_and_limit() -> None:
    summary = summarise([left("RST", 0.001), left("RST", 0.004), left("FIN", 0.25)])
    assert summary["rst_ms"] == {"p50": pytest.approx(1), "p95": pytest.approx(4), "worst": pytest.approx(4)}
    assert summary["fin_ms"]["worst"] == pytest.approx(250)
    assert (summary["goal_ms"], summary["not_ended"]) == (100, 0)
    rows = {line.partition("  ")[0]: line.split() for line in table(summary).splitlines()}
    assert rows["FIN, until the work has ended"][-2:] == ["250.00", "100"]
    assert rows["limit: GET /health"][-3:] == ["3.00"] * 3


@pytest.mark.parametrize(
    ("after", "outcome"), [(None, None), (2.0, "completed")], ids=["no end", "spoken whole"]
)
def test_a_speech_that_its_listener_did_not_end_is_counted_and_no_figure(
    after: float | None, outcome: str | None
) -> None:
    summary = summarise([left("RST", 0.001), left("RST", after, outcome)])
    assert summary["not_ended"] == 1
    assert summary["rst_ms"]["worst"] == pytest.approx(1)
    assert "1 speeches were not ended" in table(summary)


@pytest.mark.parametrize("audio_format", ["pcm", "mp3"])
def test_both_ways_to_hang_up_end_the_work_on_a_real_server(audio_format: str) -> None:
    pytest.importorskip("espeakng_loader")
    hang_ups = measure(2, audio_format)
    assert [(each.way, each.outcome) for each in hang_ups] == [("RST", "cancelled"), ("FIN", "cancelled")] * 2
    assert all(each.ended is not None and each.ended > each.at for each in hang_ups)
