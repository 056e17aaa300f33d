"""The socket for engines: a family that is one class and one line speaks through every door."""

import contextlib

import numpy as np
import pytest

from orpheus_openai.app import create_app
from orpheus_openai.errors import ConfigurationError
from orpheus_openai.models.engine import AVAILABLE, Engine
from orpheus_openai.models.factory import ENGINES
from orpheus_openai.settings import Settings
from orpheus_openai.synthesis import Sampling
from tests.support.in_process import asking

CATALOG = """
[models.bells]
title = "Bells"
engine = "toy"
voices = "own"
[voices.ding]
language = "en"
gender = "male"
models = ["bells"]
"""


class Bell:
    """Sounds as loud as its temperature is high."""

    alive = True

    async def synthesize(self, text, voice, sampling, usage):
        usage.input_tokens += len(text)
        yield np.full(2_400, round(1_000 * sampling.temperature), np.int16)

    async def close(self):
        self.alive = False


class ToyEngine(Engine):
    sampling = Sampling(temperature=1.5)

    def availability(self, model):
        return AVAILABLE

    async def load(self, model, gpu):
        return Bell()


@contextlib.asynccontextmanager
async def client_of(tmp_path, catalog=CATALOG):
    file = tmp_path / "catalog.toml"
    file.write_text(catalog)
    app = create_app(Settings(model="preview", catalog=file, output_dir=tmp_path / "outputs"))
    async with asking(app) as client:
        yield client


@pytest.fixture
def _toy(monkeypatch):
    monkeypatch.setitem(ENGINES, "toy", ToyEngine)


SPEECH = {"model": "bells", "voice": "ding", "input": "Ding dong.", "response_format": "pcm"}


@pytest.mark.usefixtures("_toy")
async def test_an_engine_that_only_says_what_it_can_and_loads_speaks_with_its_own_voices_and_sampling(
    tmp_path,
):
    async with client_of(tmp_path) as client:
        models = (await client.get("/api/models")).json()["models"]
        (bells,) = [model for model in models if model["id"] == "bells"]
        assert (bells["engine"], bells["status"], bells["voices"]) == ("toy", "available", ["ding"])
        assert not any("ding" in model["voices"] for model in models if model is not bells)

        for body, level in ((SPEECH, 1_500), ({**SPEECH, "temperature": 0.5}, 500)):
            spoken = await client.post("/v1/audio/speech", json=body)
            assert spoken.status_code == 200, spoken.text
            assert np.abs(np.frombuffer(spoken.content, "<i2")).max() == level

        refused = await client.post("/v1/audio/speech", json={**SPEECH, "voice": "tara"})
        assert refused.status_code == 400
        assert "bells does not know the voice 'tara'" in refused.json()["error"]["message"]


def test_an_engine_that_there_is_not_stops_the_start_and_names_those_there_are(tmp_path):
    file = tmp_path / "catalog.toml"
    file.write_text(CATALOG)
    with pytest.raises(ConfigurationError, match=r"\[models.bells\] engine: .*'toy'; .*orpheus, preview"):
        create_app(Settings(catalog=file, output_dir=tmp_path))
