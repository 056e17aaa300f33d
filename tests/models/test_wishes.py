"""What the settings ask for by name is never met by something else: where it cannot be had, that is said everywhere."""

import contextlib

import httpx
import pytest

from orpheus_openai.app import create_app
from orpheus_openai.installation import installing
from orpheus_openai.settings import load_settings
from tests.support.environment import environ
from tests.support.in_process import asking
from tests.support.served import serving

SPEECH = {"model": "tts-1", "voice": "tara", "input": "Good morning."}
URL = "http://127.0.0.1:9/v1"
WISHES = [
    {"ORPHEUS_MODEL": "medium-3b"},
    {"ORPHEUS_PINNED": "medium-3b"},
    {"ORPHEUS_DEVICE": "cuda"},
    {"ORPHEUS_MODEL_MEDIUM_3B": "/models/mine"},
    {"ORPHEUS_REMOTE_URL": URL},
]


@pytest.fixture
def bare(monkeypatch):
    """A machine with neither a GPU nor what decodes Orpheus."""
    monkeypatch.setattr("orpheus_openai.models.orpheus.engine.gpu_count", lambda: 0)
    for module in ("engine", "preview.engine"):
        monkeypatch.setattr(
            f"orpheus_openai.models.{module}.installed", lambda name: name == "espeakng_loader"
        )


@contextlib.asynccontextmanager
async def client_of(folder, environ):
    app = create_app(load_settings({"ORPHEUS_OUTPUT_DIR": str(folder), **environ}, None))
    async with asking(app) as client:
        yield client, app


@pytest.mark.parametrize("environ", WISHES, ids=lambda environ: next(iter(environ)))
@pytest.mark.usefixtures("bare")
async def test_who_asks_for_orpheus_is_not_given_the_preview(tmp_path, environ):
    ((name, value),) = environ.items()
    async with client_of(tmp_path, environ) as (client, app):
        spoken = await client.post("/v1/audio/speech", json=SPEECH)
        ready = await client.get("/ready")
        assert (await client.get("/api/status")).json()["ready"] is False
    cure = installing("orpheus") if value == URL else "ORPHEUS_REMOTE_URL"
    for answer, status in ((spoken, 404), (ready, 503)):
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (status, "model_unavailable")
        assert "medium-3b cannot speak here" in error["message"]
        assert cure in error["message"]
        assert "retry-after" not in answer.headers
    (warning,) = app.state.unmet
    assert warning.startswith(f"{name}={value}: medium-3b cannot speak here.")
    assert cure in warning
    assert "ORPHEUS_MODEL=preview" in warning
    assert "\n" not in warning


async def test_a_checkpoint_that_is_not_there_is_told_at_the_start_and_needs_no_other_when_it_comes(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("orpheus_openai.models.engine.installed", lambda _name: True)
    monkeypatch.chdir(tmp_path)
    async with client_of(tmp_path, {"ORPHEUS_MODEL_MEDIUM_3B": "orpheus.gguf"}) as (client, app):
        spoken = await client.post("/v1/audio/speech", json=SPEECH)
        (warning,) = app.state.unmet
        for told in (spoken.json()["error"]["message"], warning):
            assert "There is no file or folder orpheus.gguf: correct ORPHEUS_MODEL_MEDIUM_3B." in told
        assert (spoken.status_code, app.state.default_speaks) == (404, False)
        (tmp_path / "orpheus.gguf").touch()
        assert (await client.get("/ready")).status_code == 200


@pytest.mark.parametrize(
    "environ", [{}, {"ORPHEUS_PINNED": "preview"}, {"ORPHEUS_MODEL_SMALL_1B": "/models/mine"}]
)
@pytest.mark.usefixtures("bare")
async def test_who_asks_for_nothing_gets_what_there_is(tmp_path, environ):
    async with client_of(tmp_path, environ) as (client, app):
        assert (await client.get("/ready")).json()["model"] == "preview"
    assert app.state.unmet == []


@pytest.mark.usefixtures("bare")
async def test_each_pinned_model_that_cannot_be_loaded_is_told(tmp_path):
    async with client_of(tmp_path, {"ORPHEUS_MODEL": "preview", "ORPHEUS_PINNED": "small-1b,nano-150m"}) as (
        _,
        app,
    ):
        first, second = app.state.unmet
    assert first.startswith("ORPHEUS_PINNED=small-1b: small-1b cannot speak here.")
    assert "ORPHEUS_MODEL_NANO_150M" in second


def test_a_server_says_so_in_one_line_when_it_starts(tmp_path):
    with serving(tmp_path, environ(ORPHEUS_MODEL="small-1b")) as server:
        log = server.log.read_text()
        assert httpx.get(f"{server.url}/ready").status_code == 503
        assert httpx.post(f"{server.url}/v1/audio/speech", json=SPEECH).status_code == 404
    assert "is ready" not in log
    assert (
        "\norpheus-openai is serving, but not ready: small-1b cannot speak, so /ready answers 503, and tts-1 404\n"
        in log
    )
    (line,) = [line for line in log.splitlines() if "cannot speak here" in line]
    assert "warning" in line
    assert "ORPHEUS_MODEL=small-1b" in line
    assert "set ORPHEUS_MODEL_SMALL_1B" in line
