"""What a server says when it starts, to people and to machines."""

import json
import re

import httpx
import pytest

from tests.support.environment import environ
from tests.support.served import serving

pytest.importorskip("espeakng_loader")


def said(folder, **settings):
    """The log of a server that has started and answered."""
    with serving(folder, environ(**settings)) as server:
        assert httpx.get(f"{server.url}/health").status_code == 200
        return server.url, server.log.read_text()


def test_people_are_told_where_everything_is(tmp_path):
    url, log = said(tmp_path)
    places = dict(re.findall(r"^  (\w+) +(.*)$", log, flags=re.MULTILINE))
    assert places["Page"] == f"{url}/"
    assert places["API"] == f"{url}/v1"
    assert places["Model"].startswith("preview: eSpeak NG")


@pytest.mark.parametrize("level", ["info", "error"])
def test_every_line_for_machines_is_json_from_the_first_on(tmp_path, level):
    url, log = said(
        tmp_path,
        ORPHEUS_LOG_FORMAT="json",
        ORPHEUS_LOG_LEVEL=level,
        ORPHEUS_UNKNOWN="1",
        ORPHEUS_MODEL_UNKNOWN="x",
    )
    records = [json.loads(line) for line in log.splitlines()]
    (ready,) = [record for record in records if record["message"] == "orpheus-openai is ready"]
    assert (ready["api"], ready["health"], ready["level"]) == (f"{url}/v1", f"{url}/health", "info")
    messages = " ".join(record["message"] for record in records)
    assert ("ORPHEUS_UNKNOWN: there is no such setting" in messages) is (level == "info")
    assert ("ORPHEUS_MODEL_UNKNOWN is for no model" in messages) is (level == "info")
