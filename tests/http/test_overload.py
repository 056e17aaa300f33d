"""A server that is asked for several times what it can speak."""

import pytest

from benchmarks.overload import measure

pytest.importorskip("espeakng_loader")


def test_in_a_rush_some_are_heard_without_a_gap_the_rest_are_told_at_once_and_nothing_is_left(monkeypatch):
    monkeypatch.setenv("ORPHEUS_MODEL", "preview")
    report = measure(3, at_once=2, queue=1, factor=4)
    rush = report.rush
    assert rush.failed == {}
    assert rush.admitted >= 2
    assert rush.refused >= 1
    assert rush.without_retry_after == 0
    assert rush.silence / rush.audio < 0.01
    assert sorted(rush.refusals)[len(rush.refusals) // 2] < 0.5
    assert report.speaking_after == 0
