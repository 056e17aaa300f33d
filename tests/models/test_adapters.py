"""LoRA adapters: which are refused and why, which an engine holds, and what real vLLM says with them."""

import asyncio
import importlib.util
import json
import shutil
from pathlib import Path

import pytest

from orpheus_openai.catalog import load_catalog
from orpheus_openai.errors import InvalidRequestError, ModelUnavailableError
from orpheus_openai.models.orpheus import adapters_held
from orpheus_openai.models.orpheus.adapters import (
    Adapter,
    adapter_at_hand,
    fetch_adapter,
    read_adapter,
    require_base,
)
from orpheus_openai.models.orpheus.adapters_held import HeldAdapters
from orpheus_openai.models.orpheus.budget import Budget
from orpheus_openai.models.orpheus.checkpoint import read_checkpoint
from orpheus_openai.models.orpheus.loader import OrpheusLoader
from orpheus_openai.settings import Settings
from orpheus_openai.voices.folder import VoiceFolder
from orpheus_openai.voices.form import VoiceFile

torch = pytest.importorskip("torch")
from safetensors.torch import save_file  # noqa: E402  needs torch

from tests.support.tiny_checkpoint import HIDDEN, LAYERS  # noqa: E402

CATALOG = load_catalog()
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
            {
                "extra": {
                    f"{QUERY}.lora_A.weight": torch.zeros(RANK, 64),
                    f"{QUERY}.lora_B.weight": torch.zeros(96, RANK),
                }
            },
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
    curable = {"use_dora", "modules_to_save", "rank", "layers", "width", "init_lora_weights"} & made.keys()
    if curable or "lm_head" in why:
        assert "merge_and_unload" in refused.value.message


def in_the_hubs_cache(tmp_path, monkeypatch, **config):
    """The adapter of the repository someone/voice, as the hub's library keeps what it has downloaded."""
    snapshot = tmp_path / "models--someone--voice" / "snapshots" / "0"
    write_adapter(snapshot, **config)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    return snapshot


def test_an_adapter_of_a_repository_is_read_where_the_hub_puts_it(tmp_path, shape, monkeypatch):
    snapshot = in_the_hubs_cache(tmp_path, monkeypatch)
    monkeypatch.chdir(tmp_path)
    write_adapter(
        tmp_path / "someone" / "voice", 2
    )  # a folder here that happens to have the repository's name
    assert fetch_adapter("someone/voice", shape, 64).directory == snapshot


async def test_an_adapter_of_a_repository_that_was_trained_on_another_model_is_refused_unless_its_model_was_named(
    tmp_path, monkeypatch
):
    in_the_hubs_cache(tmp_path, monkeypatch, base_model_name_or_path="unsloth/orpheus-3b-0.1-pretrained")
    folder = VoiceFolder(tmp_path / "voices")
    for name, model in (("Far", ""), ("Told", "medium-3b"), ("Right", "medium-3b-pretrained")):
        file = VoiceFile(name=name, kind="adapter", adapter="hub:someone/voice", model=model)
        folder.add(name.lower(), file, CATALOG)
    far, right, told = folder.read(CATALOG).voices
    with pytest.raises(
        ModelUnavailableError, match="which is medium-3b-pretrained here.*name the model.*merge_and_unload"
    ):
        require_base(far, CATALOG)
    loader = OrpheusLoader(Settings(), CATALOG, Budget(Settings()), list)
    for _ in range(2):
        with pytest.raises(ModelUnavailableError, match="which is medium-3b-pretrained here"):
            await loader._require_base(far)
        for voice in (right, told):
            require_base(voice, CATALOG)
            await loader._require_base(voice)
    listed = VoiceFolder(tmp_path / "voices", adapter_at_hand).read(CATALOG)
    assert "which is medium-3b-pretrained here" in listed.problems["far"]
    weights = adapter_at_hand("someone/voice") / "adapter_model.safetensors"
    assert [voice.memory for voice in listed.voices] == [weights.stat().st_size] * 2


def weights_file(folder, **changed):
    """An adapter of two matrices whose header says what is not so."""
    write_adapter(folder, layers=0)
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"
    told = {
        "a": {"dtype": "F32", "shape": [RANK, HIDDEN], "data_offsets": [0, 2048]},
        "b": {"dtype": "F32", "shape": [HIDDEN, RANK], "data_offsets": [2048, 4096]},
    }
    names = {"a": name.format("A"), "b": name.format("B")} | changed.get("names", {})
    for half in told:
        told[half] |= changed.get(half, {})
    text = changed.get("text") or json.dumps({names[half]: told[half] for half in told}).encode()
    length = changed.get("length", len(text)).to_bytes(8, "little")
    (folder / "adapter_model.safetensors").write_bytes(length + text + changed.get("numbers", bytes(4096)))
    return folder


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"length": 2**63}, "its header cannot be read"),
        ({"length": 99 << 20}, "its header cannot be read"),
        ({"text": b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"}, "its header cannot be read"),
        ({"b": {"data_offsets": [0, 2048]}}, "its matrices overlap"),
        ({"a": {"data_offsets": [-8, 2040]}}, "its matrices overlap"),
        ({"b": {"data_offsets": [2048, 2**40]}}, "has not as many numbers"),
        ({"a": {"data_offsets": [2048, 0]}}, "has not as many numbers"),
        ({"a": {"shape": [RANK, 2**62]}}, "has not as many numbers"),
        ({"a": {"shape": [-RANK, -HIDDEN]}}, "has not as many numbers"),
        ({"a": {"dtype": "I32"}}, "is of I32"),
        ({"numbers": bytes(4095)}, "it is not whole"),
        ({"numbers": bytes(4097)}, "it is not whole"),
        ({"numbers": bytes(4092) + b"\0\0\xc0\x7f"}, "holds numbers that no training gives"),
        ({"names": {"a": "../../x.layers.0.self_attn.q_proj.lora_A.weight"}}, "cannot be changed"),
        ({"names": {"a": "\x1b[2J.layers.0.self_attn.q_proj.lora_A.weight"}}, "it changes ?[2J"),
        (
            {
                "names": {"b": "model.layers.0.self_attn.q_proj.lora_A.weight"},
                "b": {"shape": [RANK, HIDDEN]},
            },
            "a matrix under two names",
        ),
    ],
)
def test_a_strangers_weights_are_refused_before_an_engine_sees_them(tmp_path, shape, changed, why):
    with pytest.raises(ModelUnavailableError) as refused:
        read_adapter(weights_file(tmp_path / "a", **changed), shape, 64)
    assert why in refused.value.message


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ('{"x": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
        ('{"peft_type": "LORA", "r": 8, "x": "' + "x" * 2_000_000 + '"}', "larger than 1 MiB"),
        ('{"peft_type": "LORA", "r": 8, "lora_alpha": NaN}', "its lora_alpha is nan"),
        ('{"peft_type": "LORA", "r": 8, "lora_alpha": 0}', "its lora_alpha is 0"),
        ('{"peft_type": "LORA", "r": -8}', "its rank is -8"),
    ],
)
def test_a_strangers_config_is_refused_in_words_and_the_voices_beside_it_are_read(
    tmp_path, shape, config, why
):
    folder = VoiceFolder(tmp_path / "voices")
    place = weights_file(tmp_path / "voices" / "odd" / "adapter")
    (place.parent / "voice.toml").write_text('name = "Odd"\nkind = "adapter"')
    (place / "adapter_config.json").write_text(config)
    with pytest.raises(ModelUnavailableError, match=why):
        read_adapter(place, shape, 64)
    assert [voice.title for voice in folder.read(CATALOG).voices] == ["Odd"]


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
    adapters = HeldAdapters(engine, 2, _fetch)

    async def use(named):
        async with adapters.use(named) as number:
            assert number in engine.loaded
            await asyncio.sleep(0)

    await asyncio.gather(*(use("a") for _ in range(5)))
    await use("b")
    await use("a")
    await use("c")
    assert engine.log == ["+a", "+b", "-2", "+c"]
    assert adapters.held == ["a", "c"]
    with pytest.raises(InvalidRequestError, match="adapter of this voice is gone"):
        await use("gone")


async def test_another_adapter_under_the_same_name_is_another_and_one_that_is_gone_goes_on(tmp_path, shape):
    async def fetch(named):
        return read_adapter(Path(named), shape, 64)

    named = str(write_adapter(tmp_path / "a"))
    adapters = HeldAdapters(_Engine(), 2, fetch)
    async with adapters.use(named) as first:
        shutil.rmtree(named)
        async with adapters.use(named) as again:
            assert again == first, "the speech of a voice that is removed goes on"
        write_adapter(tmp_path / "a", 2)
        async with adapters.use(named) as other:
            assert other != first


async def test_an_adapter_that_is_spoken_with_never_makes_room_and_who_waits_has_an_end(monkeypatch):
    monkeypatch.setattr(adapters_held, "ROOM_SECONDS", 0.05)
    adapters = HeldAdapters(_Engine(), 1, _fetch)
    async with adapters.use("a"):
        with pytest.raises(Exception, match="All 1 adapters that may be loaded at once"):
            async with adapters.use("b"):
                pass
        monkeypatch.setattr(adapters_held, "ROOM_SECONDS", 30)
        waiting = asyncio.create_task(adapters.use("b").__aenter__())
        await asyncio.sleep(0.01)
        assert not waiting.done()
    assert await waiting == 2
    assert adapters.held == ["b"]


async def test_an_adapter_that_nobody_speaks_with_is_unloaded_and_one_that_is_stays(monkeypatch):
    monkeypatch.setattr(adapters_held, "IDLE_SECONDS", 0.02)
    engine = _Engine()
    adapters = HeldAdapters(engine, 2, _fetch)
    async with adapters.use("a"):
        async with adapters.use("b"):
            pass
        for _ in range(500):
            if engine.loaded == {1}:
                break
            await asyncio.sleep(0.01)
        assert (adapters.held, engine.loaded) == (["a"], {1})
    monkeypatch.setattr(adapters_held, "IDLE_SECONDS", 30)
    async with adapters.use("b") as again:
        assert again == 3, "no number is given twice"
    adapters.close()
    assert adapters.held == []


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
