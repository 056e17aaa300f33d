"""What tests share: a real server, started once."""

import os
from collections.abc import Iterator

import pytest

from benchmarks.serving import serving


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address, without `/v1`, of a real `orpheus-openai serve` that speaks with the preview model."""
    pytest.importorskip("espeakng_loader")
    settings = ("ORPHEUS_", "PORT", "GPU_IDLE_TIMEOUT", "NVIDIA_VISIBLE_DEVICES")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(settings)}
    with serving(tmp_path_factory.mktemp("server"), {**environ, "ORPHEUS_MODEL": "preview"}) as server:
        yield server.url
