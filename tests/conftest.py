"""What tests share: a real server, started once."""

import os
from collections.abc import Iterator
from pathlib import Path

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


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama with Orpheus' vocabulary and random weights."""
    pytest.importorskip("torch")
    from tests.tiny_checkpoint import make_checkpoint  # noqa: PLC0415  needs torch

    return make_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="session")
def tiny_snac(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SNAC at its true size with random weights."""
    pytest.importorskip("snac")
    from tests.tiny_snac import write_snac  # noqa: PLC0415  needs torch

    return write_snac(tmp_path_factory.mktemp("snac"))
