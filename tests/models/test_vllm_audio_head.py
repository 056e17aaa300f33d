"""The output layer of what can be spoken: the same numbers as the whole one's, from every form of checkpoint."""

import concurrent.futures
import contextlib
import importlib
import importlib.util
import multiprocessing

import numpy as np
import pytest

from orpheus_openai.models.orpheus.checkpoint import read_checkpoint
from orpheus_openai.models.orpheus.spoken_ids import COLUMNS, turned, turned_back
from orpheus_openai.models.orpheus.vllm_options import EngineOptions, engine_arguments
from tests.support.forked import from_template
from tests.support.heads import columns, untie
from tests.support.paper_checkpoint import write_paper
from tests.support.ports import free_port

pytestmark = [pytest.mark.timeout(600)]

VOCABULARY = 156_940
IDS = [0, 65, 128_000, 128_257, 128_266, 156_937, 156_939]
LLAMA = ["LlamaForCausalLM"]


@pytest.mark.vllm
@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed")
def test_its_logits_over_two_cards_are_the_whole_heads_tied_or_not(tmp_path):
    """On one card, tokens of a whole engine are compared with another library's."""
    safetensors = importlib.import_module("safetensors.torch")
    make_checkpoint = importlib.import_module("tests.support.tiny_checkpoint").make_checkpoint
    tied, apart = make_checkpoint(tmp_path / "tied"), make_checkpoint(tmp_path / "apart")
    untie(apart)
    weights = {path: safetensors.load_file(path / "model.safetensors") for path in (tied, apart)}
    torch = importlib.import_module("torch")
    hidden = torch.randn(3, 64, generator=torch.Generator().manual_seed(0))
    port = free_port()
    with from_template(), contextlib.ExitStack() as stack:
        context = multiprocessing.get_context("spawn")
        cards = [
            stack.enter_context(concurrent.futures.ProcessPoolExecutor(1, mp_context=context))
            for _ in range(2)
        ]
        found = []
        for path in (tied, apart):
            ranks = [
                card.submit(columns, path, IDS, rank, 2, port, tensor_parallel=2)
                for rank, card in enumerate(cards)
            ]
            first, _ = [rank.result() for rank in ranks]
            found.append(first)
    for path, (ours, embedded, logits) in zip((tied, apart), found, strict=True):
        embedding = weights[path]["model.embed_tokens.weight"]
        head = weights[path].get("lm_head.weight", embedding)
        assert ours
        assert np.array_equal(embedded, embedding[IDS].numpy())
        assert logits.shape == (3, COLUMNS)
        np.testing.assert_allclose(
            logits, (hidden @ head.T)[:, 128_256:156_938].numpy(), rtol=1e-4, atol=1e-4
        )


def test_ids_are_turned_and_back():
    assert turned([128_256, 128_257, 128_266, 156_939, 0, 128_255], VOCABULARY) == [
        0,
        1,
        10,
        28_683,
        28_684,
        156_939,
    ]
    assert turned_back([0, 1, 28_681]) == [128_256, 128_257, 156_937]


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({}, {}),
        ({"tie_word_embeddings": False}, {}),
        ({}, {"quantization": "fp8"}),
        ({"quantization_config": {"quant_method": "compressed-tensors"}}, {}),
        ({}, {"tensor_parallel": 2}),
    ],
)
def test_published_forms_of_checkpoints_get_it(tmp_path, changes, options):
    checkpoint = read_checkpoint(write_paper(tmp_path, architectures=LLAMA, **changes))
    assert EngineOptions(**options).whole_head_because(checkpoint) is None
    arguments = engine_arguments(checkpoint, EngineOptions(**options), None)
    assert arguments["hf_overrides"] == {"architectures": ["OrpheusAudioForCausalLM"]}


@pytest.mark.parametrize(
    ("changes", "options", "words"),
    [
        ({"architectures": ["MistralForCausalLM"]}, {}, "it calls itself MistralForCausalLM"),
        ({"architectures": LLAMA, "stored": "F8_E4M3"}, {}, "quantised"),
        ({"architectures": LLAMA}, {"quantization": "bitsandbytes"}, "with bitsandbytes"),
    ],
)
def test_others_keep_the_whole_head_and_it_is_said_why(tmp_path, changes, options, words):
    checkpoint = read_checkpoint(write_paper(tmp_path, **changes))
    assert words in EngineOptions(**options).whole_head_because(checkpoint)
    assert "hf_overrides" not in engine_arguments(checkpoint, EngineOptions(**options), None)


def test_memory_is_reckoned_with_the_rows_that_are_held(tmp_path):
    (tmp_path / "tied").mkdir()
    (tmp_path / "apart").mkdir()
    tied = read_checkpoint(write_paper(tmp_path / "tied", architectures=LLAMA))
    apart = read_checkpoint(write_paper(tmp_path / "apart", architectures=LLAMA, tie_word_embeddings=False))
    row = 2 * 3_072
    one, two = EngineOptions(), EngineOptions(tensor_parallel=2)
    assert one.footprint(apart).weights - one.footprint(tied).weights == COLUMNS * row
    assert two.footprint(apart).weights == two.footprint(tied).weights
