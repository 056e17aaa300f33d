"""LoRA adapters: which are refused and why, which an engine holds, and what real vLLM says with them."""

import asyncio
import importlib.util
import json
import shutil
from pathlib import Path

import pytest

from orpheus_openai.errors import InvalidRequestError, ModelUnavailableError
from orpheus_openai.models.orpheus import adapters_held
from orpheus_openai.models.orpheus.adapters import Adapter, fetch_adapter, read_adapter
from orpheus_openai.models.orpheus.adapters_held import Resident
from orpheus_openai.models.orpheus.checkpoint import read_checkpoint

torch = pytest.importorskip("torch")
from safetensors.torch import save_file  # noqa: E402  needs torch

from tests.support.tiny_checkpoint import HIDDEN, LAYERS  # noqa: E402

RANK = 8
QUERY = "base_model.model.model.layers.1.self_attn.k_proj"
"""A projection that `write_adapter` leaves alone."""


def write_adapter(
    folder, seed=1, *, rank=RANK, layers=LAYERS, width=HIDDEN, strength=0.5, extra=None, **config
):
    """An adapter of the two projections of each layer's attention, and of its MLP's end."""
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(seed)
    sides = {
        "self_attn.q_proj": (width, width),
        "self_attn.o_proj": (width, width),
        "mlp.down_proj": (2 * width, width),
    }
    weights = dict(extra or {})
    for layer in range(layers):
        for name, (inside, outside) in sides.items():
            prefix = f"base_model.model.model.layers.{layer}.{name}"
            weights[f"{prefix}.lora_A.weight"] = strength * torch.randn(rank, inside, generator=generator)
            weights[f"{prefix}.lora_B.weight"] = strength * torch.randn(outside, rank, generator=generator)
    save_file(weights, folder / "adapter_model.safetensors")
    told = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": rank,
        "target_modules": ["q_proj", "o_proj", "down_proj"],
    }
    (folder / "adapter_config.json").write_text(json.dumps(told | config))
    return folder


@pytest.fixture
def shape(tiny_checkpoint):
    return read_checkpoint(tiny_checkpoint).shape


def test_an_adapter_of_the_checkpoint_is_taken(tmp_path, shape):
    folder = write_adapter(tmp_path / "a", alpha_pattern={}, modules_to_save=None)
    assert read_adapter(folder, shape, 64) == Adapter(folder, RANK, alpha=RANK)
    scaled = write_adapter(tmp_path / "b", use_rslora=True)
    assert read_adapter(scaled, shape, 64).alpha == RANK * RANK**0.5


@pytest.mark.parametrize(
    ("made", "why"),
    [
        ({"use_dora": True}, "it is a DoRA"),
        ({"modules_to_save": ["lm_head", "embed_tokens"]}, "brings whole layers of its own"),
        ({"peft_type": "IA3"}, "it is no LoRA adapter but IA3"),
        ({"bias": "all"}, "it changes biases"),
        ({"rank_pattern": {"q_proj": 4}}, "different ranks"),
        ({"rank": 128}, "its rank is 128, and ORPHEUS_ADAPTER_RANK allows 64"),
        ({"layers": 5}, "more layers than the 2 here"),
        ({"width": 96}, "it is for a model whose layers are"),
        ({"init_lora_weights": "pissa"}, "began with pissa"),
        ({"extra": {f"{QUERY}.lora_magnitude_vector": torch.zeros(64)}}, "which cannot be changed"),
        (
            {"extra": {f"{QUERY}.lora_B.weight": torch.zeros(96, RANK)}},
            "layers are 96 wide; here they are 64",
        ),
        ({"extra": {f"{QUERY}.lora_A.weight": torch.zeros(64)}}, "is no matrix"),
        ({"extra": {f"{QUERY}.lora_A.weight": torch.zeros(RANK, 64)}}, "it has no"),
        ({"r": 4}, "is not of the rank 4 that its adapter_config.json says"),
        (
            {"extra": {"base_model.model.lm_head.lora_A.weight": torch.zeros(8, 64)}},
            "it changes base_model.model.lm_head, which cannot be changed",
        ),
        (
            {"extra": {"base_model.model.model.embed_tokens.lora_embedding_A": torch.zeros(8, 64)}},
            "embed_tokens, which cannot be changed",
        ),
    ],
)
def test_what_cannot_work_is_refused_with_its_reason(tmp_path, shape, made, why):
    folder = write_adapter(tmp_path / "a", **made)
    with pytest.raises(ModelUnavailableError) as refused:
        read_adapter(folder, shape, 64)
    assert why in refused.value.message
    if {"use_dora", "modules_to_save", "rank"} & made.keys() or "lm_head" in why:
        assert "merge_and_unload" in refused.value.message


def test_an_adapter_of_a_repository_is_read_where_the_hub_puts_it(tmp_path, shape, monkeypatch):
    snapshot = tmp_path / "models--someone--voice" / "snapshots" / "0"
    write_adapter(snapshot)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert fetch_adapter("someone/voice", shape, 64).directory == snapshot


def test_pickled_weights_are_never_read(tmp_path, shape):
    folder = write_adapter(tmp_path / "a")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(ModelUnavailableError, match="pickled weights are not loaded"):
        read_adapter(folder, shape, 64)


class _Engine:
    def __init__(self):
        self.loaded, self.log = set(), []

    async def add(self, number, adapter):
        await asyncio.sleep(0)
        self.loaded.add(number)
        self.log.append(f"+{adapter.directory}")

    async def remove(self, number):
        await asyncio.sleep(0)
        self.loaded.remove(number)
        self.log.append(f"-{number}")


async def _fetch(named):
    if named == "gone":
        raise FileNotFoundError(named)
    return Adapter(Path(named), RANK, RANK)


async def test_an_adapter_is_loaded_once_and_the_one_not_used_for_longest_makes_room():
    engine = _Engine()
    resident = Resident(engine, 2, _fetch)

    async def use(named):
        async with resident.use(named) as number:
            assert number in engine.loaded
            await asyncio.sleep(0)

    await asyncio.gather(*(use("a") for _ in range(5)))
    await use("b")
    await use("a")
    await use("c")
    assert engine.log == ["+a", "+b", "-2", "+c"]
    assert resident.held == ["a", "c"]
    with pytest.raises(InvalidRequestError, match="adapter of this voice is gone"):
        await use("gone")


async def test_another_adapter_under_the_same_name_is_another_and_one_that_is_gone_goes_on(tmp_path, shape):
    async def fetch(named):
        return read_adapter(Path(named), shape, 64)

    named = str(write_adapter(tmp_path / "a"))
    resident = Resident(_Engine(), 2, fetch)
    async with resident.use(named) as first:
        shutil.rmtree(named)
        async with resident.use(named) as again:
            assert again == first, "the speech of a voice that is removed goes on"
        write_adapter(tmp_path / "a", 2)
        async with resident.use(named) as other:
            assert other != first


async def test_an_adapter_that_is_spoken_with_never_makes_room_and_who_waits_has_an_end(monkeypatch):
    monkeypatch.setattr(adapters_held, "ROOM_SECONDS", 0.05)
    resident = Resident(_Engine(), 1, _fetch)
    async with resident.use("a"):
        with pytest.raises(Exception, match="All 1 adapters that may be loaded at once"):
            async with resident.use("b"):
                pass
        monkeypatch.setattr(adapters_held, "ROOM_SECONDS", 30)
        waiting = asyncio.create_task(resident.use("b").__aenter__())
        await asyncio.sleep(0.01)
        assert not waiting.done()
    assert await waiting == 2
    assert resident.held == ["b"]


async def test_an_adapter_that_nobody_speaks_with_is_unloaded_and_one_that_is_stays(monkeypatch):
    monkeypatch.setattr(adapters_held, "IDLE_SECONDS", 0.02)
    engine = _Engine()
    resident = Resident(engine, 2, _fetch)
    async with resident.use("a"):
        async with resident.use("b"):
            pass
        for _ in range(500):
            if engine.loaded == {1}:
                break
            await asyncio.sleep(0.01)
        assert (resident.held, engine.loaded) == (["a"], {1})
    monkeypatch.setattr(adapters_held, "IDLE_SECONDS", 30)
    async with resident.use("b") as again:
        assert again == 3, "no number is given twice"
    resident.close()
    assert resident.held == []


@pytest.mark.vllm
@pytest.mark.timeout(300)
@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed")
async def test_two_adapters_and_the_base_in_one_batch_say_what_each_says_alone(tiny_checkpoint, tmp_path):
    from orpheus_openai.models.orpheus.tokens_vllm import load_vllm  # noqa: PLC0415  needs vLLM
    from orpheus_openai.models.orpheus.vllm_options import EngineOptions  # noqa: PLC0415
    from orpheus_openai.synthesis import Sampling  # noqa: PLC0415

    one, two, third = (str(write_adapter(tmp_path / str(seed), seed)) for seed in (1, 2, 3))
    options = EngineOptions(max_streams=4, stream_tokens=272, dtype="float32", adapters=2, adapter_rank=RANK)
    source = await load_vllm(str(tiny_checkpoint), options)
    prompt = [128_259, 128_000, *b"tara: Hello", 128_009, 128_260, 128_261, 128_257]

    async def say(adapter, tokens=42):
        said = []
        async for ids in source.generate(prompt, Sampling(temperature=0.0, max_tokens=tokens), adapter):
            said += ids
        return said

    try:
        alone = {each: await say(each) for each in (None, one, two)}
        assert len({tuple(said) for said in alone.values()}) == 3, "three different voices"
        longer = asyncio.create_task(say(one, 210))
        together = await asyncio.gather(*(say(each) for each in (one, None, two, None, two, one)))
        assert together == [alone[each] for each in (one, None, two, None, two, one)]
        replaced = await say(third)
        assert replaced not in alone.values(), "added while another speaks"
        assert (await longer)[:42] == alone[one]
        with pytest.raises(InvalidRequestError, match="is gone"):
            await say(str(tmp_path / "nowhere"))
        assert await say(two) == alone[two], "loaded again, and the engine lives"
        assert not source.dead
    finally:
        await source.close()
