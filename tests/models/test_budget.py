"""How many streams a model gets on a card, which cards it is spread over, and what that is told as."""

import logging
import sys
from pathlib import Path

import pytest

from orpheus_openai.catalog import OwnVoice, load_catalog
from orpheus_openai.errors import ModelUnavailableError, NotReadyError
from orpheus_openai.gpu import device
from orpheus_openai.gpu.device import GPU, GPUSample
from orpheus_openai.gpu.policy import GIB, Card
from orpheus_openai.models import cards, engine
from orpheus_openai.models.factory import ModelFactory
from orpheus_openai.models.orpheus import engine as orpheus_engine
from orpheus_openai.models.orpheus.budget import Budget
from orpheus_openai.models.orpheus.checkpoint import read_checkpoint
from orpheus_openai.models.orpheus.gguf_file import fetch_gguf
from orpheus_openai.models.orpheus.memory import CODEC
from orpheus_openai.settings import Settings, load_settings
from tests.support.paper_checkpoint import write_paper

PROFILES = Path(__file__).parents[2] / "deploy" / "profiles"
MODEL = load_catalog().models["medium-3b"]


@pytest.fixture(scope="module")
def paper(tmp_path_factory):
    return str(write_paper(tmp_path_factory.mktemp("orpheus")))


async def fitted(paper, free, total=None, **settings):
    """What the engine is started with where the codec has been loaded and `free` GiB are left of `total`."""
    budget = Budget(Settings(**settings))
    await budget.prepare(MODEL, paper)
    card = None if free is None else Card(0, round(free * GIB), round((total or free) * GIB))
    return budget.fitted(MODEL, card)


@pytest.mark.parametrize(
    ("free", "streams"), [(8.3, 2), (10.6, 11), (14.5, 29), (22.5, 64), (46, 64), (78, 64)]
)
async def test_auto_takes_as_many_streams_as_fit_64_at_most(paper, free, streams):
    assert (await fitted(paper, free)).max_streams == streams


async def test_adapters_are_counted_and_what_voices_begin_with_is_kept_where_they_are_recordings(paper):
    without, some = await fitted(paper, 46), await fitted(paper, 46, adapters=2, adapter_rank=64)
    checkpoint = read_checkpoint(Path(paper))
    more = some.footprint(checkpoint).weights - without.footprint(checkpoint).weights
    assert 0.25 < more / GIB < 1.5  # 3 places of 97 million numbers
    budget = Budget(Settings())
    models = load_catalog().models
    assert budget.fitted(models["medium-3b-pretrained"], None).prefix_caching
    assert not budget.fitted(models["medium-3b"], None).prefix_caching


async def test_auto_leaves_a_margin_for_others_but_not_at_the_price_of_the_only_stream(paper):
    least = (await fitted(paper, 80)).with_streams(1).footprint(read_checkpoint(Path(paper))).of_engine / GIB
    assert (await fitted(paper, least + 0.01, 24)).max_streams == 1
    many = await fitted(paper, 20, 80)
    assert many.footprint(read_checkpoint(Path(paper))).of_engine <= (20 - 0.03 * 80) * GIB


async def test_a_number_that_does_not_fit_is_lowered_and_the_log_says_so(paper, caplog):
    with caplog.at_level(logging.WARNING):
        assert (await fitted(paper, 46, max_streams="128")).max_streams == 128
        assert not caplog.records
        assert (await fitted(paper, 14.5, max_streams="128")).max_streams == 29
    assert "speaks 29 streams at once of the 128 that ORPHEUS_MAX_STREAMS asks for" in caplog.text


async def test_where_not_even_one_fits_it_is_said_with_what_would_help(paper):
    with pytest.raises(NotReadyError, match=r"needs 7\.8 GiB.*7\.0 GiB free.*ORPHEUS_QUANTIZATION=fp8"):
        await fitted(paper, 7)


async def test_smaller_numbers_make_room_for_more_streams(paper):
    plain = (await fitted(paper, 10.6)).max_streams
    assert (await fitted(paper, 10.6, quantization="fp8")).max_streams > 2 * plain
    assert (await fitted(paper, 10.6, kv_cache_dtype="fp8")).max_streams > 1.8 * plain


@pytest.mark.parametrize("mode", ["multi", "hybrid"])
async def test_models_that_share_a_card_are_modest_each(paper, mode):
    assert (await fitted(paper, 78, mode=mode)).max_streams == 8


async def test_without_a_card_auto_is_8_and_a_number_is_taken_at_its_word(paper):
    assert (await fitted(paper, None, device="cpu")).max_streams == 8
    assert (await fitted(paper, None, device="cpu", max_streams="3")).max_streams == 3


async def test_the_small_profile_fits_a_card_of_8_gb(paper):
    settings = load_settings({}, PROFILES / "low-memory.env")
    budget = Budget(settings)
    await budget.prepare(MODEL, paper)
    assert budget.footprint(MODEL) / GIB == pytest.approx(5.2, abs=0.05)
    assert budget.fitted(MODEL, Card(0, round(5.51 * GIB), 8 * GIB)).max_streams == int(settings.max_streams)


# --- the factory, on faked cards --------------------------------------------------------------------------------------


@pytest.fixture
def machine_with(monkeypatch):
    """A machine with cards of 24 GiB, of which so much is free, and a factory for it."""

    def machine_with(*free, slices=(), **settings):
        gpus = [
            GPU(index=i, memory_total=24 * GIB, memory_used=round((24 - f) * GIB)) for i, f in enumerate(free)
        ]
        gpus += [
            GPU(index=len(free) + i, slice_of=9, memory_total=10 * GIB, memory_used=round((10 - f) * GIB))
            for i, f in enumerate(slices)
        ]
        monkeypatch.setattr(cards, "list_gpus", lambda: GPUSample(tuple(gpus)).gpus)
        monkeypatch.setattr(orpheus_engine, "gpu_count", lambda: len(gpus))
        monkeypatch.setattr(engine, "installed", lambda _: True)
        monkeypatch.setattr(orpheus_engine, "machine_gaps", lambda: ())
        return ModelFactory(Settings(**settings), load_catalog())

    return machine_with


async def test_a_models_footprint_is_the_catalogs_until_its_checkpoint_is_here(machine_with, paper):
    factory = machine_with(20, checkpoints={"ORPHEUS_MODEL_MEDIUM_3B": paper})
    assert factory.footprint(MODEL) == factory.least_footprint(MODEL) == round(MODEL.memory_gib * GIB)
    await factory.prepare(MODEL)
    assert factory.footprint(MODEL) / GIB == pytest.approx(10.31, abs=0.02)
    assert factory.least_footprint(MODEL) / GIB == pytest.approx(8.73, abs=0.05)


async def test_a_gguf_files_footprint_is_the_catalogs_until_it_is_here_and_has_the_places_of_adapters(
    machine_with, tiny_gguf
):
    def program(**settings):
        checkpoints = {"ORPHEUS_MODEL_MEDIUM_3B": str(tiny_gguf)}
        return machine_with(20, checkpoints=checkpoints, llama_server=sys.executable, **settings)

    plain, some = program(max_streams="4"), program(max_streams="4", adapters=3, adapter_rank=16)
    assert some.footprint(MODEL) == MODEL.memory_gib * GIB
    for each in (plain, some):
        await each.prepare(MODEL)
    header = fetch_gguf(str(tiny_gguf))
    assert plain.footprint(MODEL) == header.memory_bytes(4 * 4_096) + CODEC
    assert plain.least_footprint(MODEL) == header.memory_bytes(4_096) + CODEC
    edges = sum(header.shape.projections["q_proj"] + header.shape.projections["down_proj"])
    assert some.footprint(MODEL) - plain.footprint(MODEL) > 3 * header.shape.layers * edges * 16 * 2


def test_what_runs_elsewhere_takes_nothing_of_a_card(machine_with):
    factory = machine_with(20, remote_url=("http://gpu-box:8000/v1",))
    assert factory.footprint(MODEL) == factory.least_footprint(MODEL) == 0
    assert machine_with(20).footprint(load_catalog().models["preview"]) == 0


def test_a_gguf_file_is_held_beside_the_cards_unless_a_program_of_ones_own_puts_it_there(machine_with):
    file = {"checkpoints": {"ORPHEUS_MODEL_MEDIUM_3B": "orpheus-q4_k_m.gguf"}}
    assert machine_with(20, **file).footprint(MODEL) == 0
    assert (
        machine_with(20, **file, llama_server="/opt/llama-server").footprint(MODEL) == MODEL.memory_gib * GIB
    )
    assert machine_with(**file).footprint(MODEL) == MODEL.memory_gib * GIB, (
        "the host's memory, where there is no card"
    )


@pytest.mark.parametrize(
    ("settings", "refused"),
    [
        ({"adapters": 1, "checkpoints": {"ORPHEUS_MODEL_MEDIUM_3B": "someone/orpheus-q4_k_m.gguf"}}, ""),
        ({"checkpoints": {"ORPHEUS_MODEL_MEDIUM_3B": "someone/orpheus-q4_k_m.gguf"}}, "Set ORPHEUS_ADAPTERS"),
        (
            {"adapters": 1, "remote_url": ("http://gpu-box:8000/v1",)},
            "not by the servers in ORPHEUS_REMOTE_URL",
        ),
    ],
)
def test_where_a_voice_with_an_adapter_cannot_speak_the_way_out_is_said(machine_with, settings, refused):
    voice = OwnVoice(
        id="bea",
        place="bea",
        title="Bea",
        gender="female",
        kind="adapter",
        language="en",
        languages=("en",),
        models=("medium-3b",),
        adapter="/voices/bea/adapter",
    )
    factory = machine_with(20, **settings)
    if refused:
        with pytest.raises(ModelUnavailableError, match=refused):
            factory.require_voice(MODEL, voice)
    else:
        factory.require_voice(MODEL, voice)


def test_slices_are_judged_by_their_own_memory(machine_with):
    cards = machine_with(20, slices=(9, 3)).cards()
    assert [(card.index, card.free // GIB, card.total // GIB) for card in cards] == [
        (0, 20, 24),
        (1, 9, 10),
        (2, 3, 10),
    ]


async def test_a_model_is_spread_over_the_idlest_whole_cards_for_good(machine_with, paper):
    settings = {"tensor_parallel": 2, "checkpoints": {"ORPHEUS_MODEL_MEDIUM_3B": paper}}
    factory = machine_with(3, 20, 22, slices=(10,), **settings)
    (card,) = factory.cards()
    assert (card.index, card.also, card.free) == (2, (1,), 2 * 20 * GIB)
    await factory.prepare(MODEL)
    half = factory.footprint(MODEL) / 2 / GIB
    assert half == pytest.approx((6.15 + 0.16) / 2 + 1.75 / 2 + 1.5 + 0.9 + 0.01, abs=0.03)
    options = factory._engine(MODEL)._budget.fitted(MODEL, card)
    assert (options.gpus, options.tensor_parallel, options.max_streams) == ((2, 1), 2, 64)


def test_fewer_cards_than_a_model_is_spread_over_is_said(machine_with):
    factory = machine_with(20, tensor_parallel=2)
    assert factory.cards() == []
    assert "takes as many GPUs, and 1 may be used here" in factory.availability(MODEL).reason


@pytest.mark.parametrize(("settings", "place"), [({}, "cuda:1"), ({"snac_device": "cpu"}, "cpu")])
async def test_the_codec_is_on_the_models_card_unless_it_is_to_leave_that_to_others(
    monkeypatch, settings, place
):
    torch = pytest.importorskip("torch", reason="the codec needs the extra 'orpheus'")
    from orpheus_openai.models.orpheus.loader import OrpheusLoader  # noqa: PLC0415  imports torch

    def loaded(_source, place, *_):
        raise NotReadyError(place)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(device, "list_gpus", lambda: (GPU(index=0), GPU(index=1)))
    monkeypatch.setattr("orpheus_openai.models.orpheus.codec.SnacDecoder.load", loaded)
    loader = OrpheusLoader(Settings(**settings), load_catalog(), Budget(Settings(**settings)), list)
    with pytest.raises(NotReadyError, match=f"^{place}$"):
        await loader.load(MODEL, ["a-checkpoint"], 1)
