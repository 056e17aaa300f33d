"""What tests share: a real server, started once."""

import os
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from xdist.scheduler import LoadFileScheduling

from orpheus_openai.models.imports import lasting_import
from tests.support.environment import environ
from tests.support.served import serving


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address, without `/v1`, of a real `orpheus-openai serve` that speaks with the preview model."""
    pytest.importorskip("espeakng_loader")
    with serving(tmp_path_factory.mktemp("server"), environ()) as server:
        yield server.url


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama with Orpheus' vocabulary and random weights."""
    pytest.importorskip("torch")
    from tests.support.tiny_checkpoint import make_checkpoint  # noqa: PLC0415  needs torch

    return make_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What llama.cpp holds of an Orpheus that speaks noise, in well-formed frames, for some seconds."""
    pytest.importorskip("xllamacpp", reason="llama.cpp needs the extra 'gguf'")
    from tests.support.tiny_gguf import write_gguf  # noqa: PLC0415  needs the package gguf

    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny-orpheus-f16.gguf")


@pytest.fixture(scope="session")
def tiny_snac(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SNAC with few channels and random weights: the codec's own tests have it at its true size."""
    pytest.importorskip("snac")
    from tests.support.tiny_snac import SLIM, write_snac  # noqa: PLC0415  needs torch

    return write_snac(tmp_path_factory.mktemp("snac"), decoder_dim=SLIM)


IMPORT_VLLM = (
    "test_vllm_audio_only",
    "test_tokens_remote_vllm",
    "test_vllm_audio_head",
    "test_tokens_vllm",
    "test_orpheus",
    "test_adapters",
)
"""Files that go to one worker of a parallel run: vLLM takes long to import."""

LONGEST_FIRST = (
    *IMPORT_VLLM,
    "test_scale",
    "test_llama_engine",
    "test_ui_browser",
    "test_mcp",
    "test_scale_ray",
    "test_draw",
    "test_ui_keeps",
    "test_espeak",
    "test_scripts",
    "test_snac_card",
    "test_openapi_contract",
    "test_tokens_remote_llama",
    "test_fuzz",
    "test_ui_states",
    "test_tokens_llama",
    "test_soak",
    "test_limits",
    "test_ui_axe",
    "test_overload",
    "test_preview",
    "test_ui_voices",
    "test_download",
    "test_service",
    "test_readme",
    "test_tracing",
    "test_ui_more",
    "test_metrics",
    "test_cli",
    "test_custom_voices",
    "test_codec",
    "test_release",
    "test_connections",
    "test_clients",
    "test_ui_line",
    "test_ingress",
    "test_speak",
)
"""Files that take longest, which the workers of a parallel run must not come to last; what calculates is mixed with
what waits, so that the workers seldom do the same."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; the others stay as they are. Accept no two tests with one id.

    A parallel run would take one of them and drop the others without a word.
    """
    if twice := [nodeid for nodeid, count in Counter(item.nodeid for item in items).items() if count > 1]:
        raise pytest.UsageError(f"several tests are called {', '.join(twice)}")
    place = {name: number for number, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Import all tests' modules as a server imports what is large, in four fifths of the time."""
    with lasting_import("torch"):  # what is largest among them
        return (yield)


class LoadFiles(LoadFileScheduling):
    """A file to a worker, and those that import vLLM to one."""

    def _split_scope(self, nodeid: str) -> str:
        scope: str = super()._split_scope(nodeid)
        return "vllm" if Path(scope).stem in IMPORT_VLLM else scope


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadFiles | None:
    """Take it for `--dist loadfile`."""
    return LoadFiles(config, log) if config.getvalue("dist") == "loadfile" else None


EXPECTED_SKIPS = ("NVIDIA GPU",)
"""Words of the reasons for which a test may be skipped in CI: what no machine without a GPU can show."""

DID_NOT_RUN = 9
"""How it ends then: unlike after tests that failed, there is nothing that might pass when it is tried again."""

_unexpected_skips: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember tests that were skipped although CI has, or installs, what they need."""
    if report.skipped and isinstance(report.longrepr, tuple | list):  # a list where it comes from a worker
        reason = report.longrepr[2]
        if not any(word in reason for word in EXPECTED_SKIPS):
            _unexpected_skips.append(f"{report.nodeid}: {reason}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a test that did not run is a test that failed."""
    if os.environ.get("CI") and _unexpected_skips:
        session.exitstatus = DID_NOT_RUN


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which."""
    if os.environ.get("CI") and _unexpected_skips:
        terminalreporter.section("skipped, which CI does not accept")
        for line in _unexpected_skips:
            terminalreporter.write_line(line)
