"""What is known of a checkpoint before it is loaded, and the memory that an engine and its streams will take."""

import struct

import msgspec
import pytest

from orpheus_openai.errors import ModelUnavailableError
from orpheus_openai.gpu.policy import GIB
from orpheus_openai.models.orpheus.checkpoint import fetch_checkpoint, read_checkpoint
from orpheus_openai.models.orpheus.memory import CODEC, GRAPH
from orpheus_openai.models.orpheus.vllm_options import EngineOptions, engine_arguments
from tests.support.paper_checkpoint import write_paper

LINEAR, EMBEDDING, NORMS = 2_818_572_288, 156_940 * 3_072, 57 * 3_072
NUMBERS = LINEAR + EMBEDDING + NORMS
CACHE_OF_A_TOKEN = 114_688
"""Keys and values: 2 x 28 layers x 8 heads x 128 x 2 bytes."""


@pytest.fixture
def written(tmp_path):
    """Write a checkpoint of Orpheus' shape, with changes to its config."""
    return lambda **changes: write_paper(tmp_path, **changes)


def test_a_checkpoint_tells_what_an_engine_will_hold_of_it(written):
    checkpoint = fetch_checkpoint(str(written()))
    assert checkpoint.weight_bytes() == 2 * NUMBERS
    assert checkpoint.shape.cache_bytes(1) == CACHE_OF_A_TOKEN


def test_a_head_that_is_not_the_embedding_counts_itself(written):
    apart = read_checkpoint(written(tie_word_embeddings=False))
    assert apart.weight_bytes() == 2 * (NUMBERS + EMBEDDING)


def test_weights_take_what_the_engine_keeps_of_them_not_what_the_files_hold(written):
    assert read_checkpoint(written(stored="F32")).weight_bytes() == 2 * NUMBERS
    assert read_checkpoint(written(stored="F32")).weight_bytes(4) == 4 * NUMBERS
    assert read_checkpoint(written()).weight_bytes(4) == 4 * NUMBERS


def test_quantisation_halves_the_layers_and_leaves_embedding_and_norms(written):
    checkpoint = read_checkpoint(written())
    for name in ("fp8", "fp8_per_tensor"):
        held = EngineOptions(quantization=name).footprint(checkpoint).weights
        assert held == LINEAR + 2 * (EMBEDDING + NORMS)


def test_files_that_are_quantised_are_held_as_they_are(written):
    quantised = read_checkpoint(written(stored="F8_E4M3", quantization_config={"quant_method": "fp8"}))
    options = EngineOptions(quantization="fp8")
    assert options.footprint(quantised).weights == NUMBERS
    assert engine_arguments(quantised, options, None)["quantization"] == "fp8"


def test_fp8_is_the_name_that_people_know_for_what_vllm_calls_otherwise(written):
    arguments = engine_arguments(read_checkpoint(written()), EngineOptions(quantization="fp8"), None)
    assert arguments["quantization"] == "fp8_per_tensor"


def test_eight_streams_of_the_published_model_take_what_its_page_says(written):
    footprint = EngineOptions(max_model_len=4_096).footprint(read_checkpoint(written()))
    assert footprint.total / GIB == pytest.approx(10.31, abs=0.02)
    assert footprint.total - footprint.of_engine == CODEC
    parts = (footprint.weights, footprint.cache, footprint.sampler, footprint.engine)
    assert footprint.of_engine == sum(parts)
    assert [round(part / GIB, 2) for part in parts] == [6.15, 1.75, 0.01, 1.51]
    assert EngineOptions(codec_on_card=False).footprint(read_checkpoint(written())).codec == 0


def test_a_cache_of_8_bits_takes_half(written):
    checkpoint = read_checkpoint(written())
    plain = EngineOptions(max_streams=256).footprint(checkpoint)
    small = EngineOptions(max_streams=256, kv_cache_dtype="fp8").footprint(checkpoint)
    assert plain.cache == 256 * 2_048 * CACHE_OF_A_TOKEN == 2 * small.cache
    assert (
        plain.sampler == small.sampler == 46 * 28_682 * 256
    )  # of the head's columns, not of the vocabulary's


def test_an_engine_asks_for_what_the_model_needs(written):
    arguments = engine_arguments(read_checkpoint(written()), EngineOptions(max_streams=8), 24 * GIB)
    assert arguments["kv_cache_memory_bytes"] == 8 * 2_048 * CACHE_OF_A_TOKEN
    held = 2 * NUMBERS + 8 * 2_048 * CACHE_OF_A_TOKEN
    assert arguments["gpu_memory_utilization"] == pytest.approx(held / (24 * GIB))
    assert arguments["max_model_len"] == 8_192


@pytest.mark.parametrize(
    ("streams", "tokens", "sizes", "graphs"),
    [(1, 256, 11, 12), (4, 256, 11, 14), (5, 256, 35, 38), (64, 256, 35, 46), (200, 400, 44, 72)],
)
def test_captured_graphs_reach_to_prompts_beside_streams_and_are_counted(
    written, streams, tokens, sizes, graphs
):
    checkpoint, options = read_checkpoint(written()), EngineOptions(max_streams=streams)
    captured = engine_arguments(checkpoint, options, 80 * GIB)["cudagraph_capture_sizes"]
    assert (max(captured), len(captured)) == (tokens, sizes)
    assert {1, 2, 4} <= set(captured), "what nearly all steps are where few speak"
    eager = msgspec.structs.replace(options, enforce_eager=True)
    assert "cudagraph_capture_sizes" not in engine_arguments(checkpoint, eager, 80 * GIB)
    saved = options.footprint(checkpoint).engine - eager.footprint(checkpoint).engine
    assert saved == graphs * GRAPH


def test_a_segment_of_full_length_fits_however_few_streams_there_are(written):
    arguments = engine_arguments(read_checkpoint(written()), EngineOptions(max_streams=1), None)
    assert arguments["kv_cache_memory_bytes"] == (8_192 + 128) * CACHE_OF_A_TOKEN  # vLLM sets a block aside
    assert "gpu_memory_utilization" not in arguments


def test_two_gpus_share_weights_and_cache_and_each_has_an_engine(written):
    checkpoint = read_checkpoint(written())
    whole = EngineOptions().footprint(checkpoint)
    half = EngineOptions(tensor_parallel=2).footprint(checkpoint)
    head = 2 * 28_682 * 3_072  # which on one card is a part of the embedding
    assert (half.weights, half.cache) == ((whole.weights + head) // 2, whole.cache // 2)
    assert (half.engine, half.sampler) == (whole.engine, whole.sampler)


@pytest.mark.parametrize(("free", "streams"), [(9.5, 8), (8.9, 5), (8.7, 4), (8.12, 3), (7.8, None), (80, 8)])
def test_as_many_streams_are_kept_as_fit(written, free, streams):
    checkpoint = read_checkpoint(written())
    fitted = EngineOptions(max_model_len=4_096).fitted(checkpoint, round(free * GIB))
    assert (None if fitted is None else fitted.max_streams) == streams


def test_a_share_that_the_user_names_is_left_to_the_engine(written):
    arguments = engine_arguments(read_checkpoint(written()), EngineOptions(memory_fraction=0.5), 24 * GIB)
    assert arguments["gpu_memory_utilization"] == 0.5
    assert "kv_cache_memory_bytes" not in arguments


def test_no_more_context_than_the_checkpoint_has(written):
    assert EngineOptions().context(read_checkpoint(written(max_position_embeddings=2_048))) == 2_048


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"vocab_size": 128_256}, "not an Orpheus model"),
        ({"files": 0}, "no weights"),
        ({"max_position_embeddings": "?"}, "config.json"),
    ],
)
def test_what_cannot_be_loaded_is_told_apart(written, changes, words):
    with pytest.raises(ModelUnavailableError, match=words):
        read_checkpoint(written(**changes))


@pytest.mark.parametrize(
    "content",
    [b"", struct.pack("<Q", 1 << 60), struct.pack("<Q", 40) + b"{", struct.pack("<Q", 6) + b'{"a":1'],
)
def test_a_broken_file_of_weights_says_so(written, content):
    folder = written()
    (folder / "model-0.safetensors").write_bytes(content)
    with pytest.raises(ModelUnavailableError, match="does not hold weights"):
        read_checkpoint(folder)


def test_a_name_that_is_neither_directory_nor_repository_says_so(tmp_path):
    pytest.importorskip("huggingface_hub")
    with pytest.raises(ModelUnavailableError, match="neither a directory"):
        fetch_checkpoint(str(tmp_path / "nothing" / "here"))
