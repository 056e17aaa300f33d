"""The soak in its short form: everything at once for a few seconds, and nobody is answered as nobody should be."""

from typing import Any

import pytest

from benchmarks.soak import BOUNDS, LATER_P99_MS, PARTS, SETTINGS, Soak, Weight, grown, soak, table
from tests.support.environment import environ
from tests.support.served import serving

pytest.importorskip("espeakng_loader")
pytest.importorskip("psutil")
pytestmark = pytest.mark.timeout(300)

SECONDS = 3.0


async def test_everything_at_once_for_a_few_seconds_is_answered_as_meant_and_weighed(tmp_path):
    parts = [part for part in PARTS if part is not Soak.half_head]  # which takes ten seconds each
    with serving(tmp_path, environ(**SETTINGS)) as server:
        found = await soak(server, SECONDS, parts)
        log = server.log.read_text()
    assert not found["faults"]
    assert " error " not in log
    assert {
        "speech",
        "hang-up",
        "saved",
        "offload",
        "MCP tools/call",
        "events",
        "HEAD",
        "bad head",
        "health",
    } <= set(found["done"])
    for weight in found["weights"].values():
        assert 10 < weight.pss_mib <= weight.rss_mib + 1
        assert min(weight.threads, weight.files, weight.processes) >= 1
    assert "pss, MiB" in table(found)


def figures(**more):
    weight: dict[str, Any] = {"rss_mib": 100.0, "pss_mib": 90.0, "threads": 10, "files": 20, "processes": 2}
    end = {name: value + more.get(name, 0) for name, value in weight.items()}
    health = {"p50": 1.0, "p99": 5.0, "worst": 9.0}
    return {
        "weights": {"start": Weight(**weight), "middle": Weight(**weight), "end": Weight(**end)},
        "health_ms": {
            "start": health,
            "middle": health,
            "end": {**health, "p99": 5.0 + more.get("later", 0.0)},
        },
        "lag_ms": {
            "start": health,
            "middle": health,
            "end": {**health, "p99": 5.0 + more.get("driver", 0.0)},
        },
        "done": {},
        "faults": {},
    }


@pytest.mark.parametrize(("what", "bound"), [*BOUNDS.items(), ("later", LATER_P99_MS)])
def test_what_grows_beyond_its_bound_is_told_and_what_stays_within_is_not(what, bound):
    assert grown(figures(**{what: bound})) == []
    assert len(grown(figures(**{what: bound + 1}))) == 1


def test_a_machine_that_has_become_slower_is_not_the_servers_fault():
    assert grown(figures(later=LATER_P99_MS + 200, driver=200.0)) == []
