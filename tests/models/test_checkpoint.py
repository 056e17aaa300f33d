"""What is known of a checkpoint before it is loaded, and the memory an engine asks for."""

import json

import pytest

from orpheus_openai.errors import ModelUnavailableError
from orpheus_openai.models.orpheus.checkpoint import GIB, fetch_checkpoint, read_checkpoint
from orpheus_openai.models.orpheus.vllm_engine import EngineOptions, engine_arguments

ORPHEUS_3B = {
    "num_hidden_layers": 28,
    "vocab_size": 156_940,
    "hidden_size": 3_072,
    "num_attention_heads": 24,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 131_072,
    "torch_dtype": "bfloat16",
}


@pytest.fixture
def written(tmp_path):
    """Write a checkpoint of the true shape; its weight files have the size but take no room on the disk."""

    def write(size=6 * GIB, **changes):
        (tmp_path / "config.json").write_text(json.dumps({**ORPHEUS_3B, **changes}))
        for part in (1, 2) if size else ():
            with (tmp_path / f"model-{part}.safetensors").open("wb") as file:
                file.truncate(size // 2)
        return tmp_path

    return write


def test_a_checkpoint_tells_its_size(written):
    checkpoint = fetch_checkpoint(str(written()))
    assert checkpoint.weight_bytes() == 6 * GIB
    assert (
        checkpoint.shape.cache_bytes(1) == 114_688
    )  # keys and values: 2 x 28 layers x 8 heads x 128 x 2 bytes


def test_weights_take_what_the_engine_keeps_of_them(written):
    assert read_checkpoint(written(torch_dtype="float32")).weight_bytes() == 3 * GIB
    assert read_checkpoint(written(torch_dtype="float32")).weight_bytes(4) == 6 * GIB
    assert read_checkpoint(written()).weight_bytes(4) == 12 * GIB


def test_an_engine_asks_for_what_the_model_needs(written):
    checkpoint = read_checkpoint(written())
    arguments = engine_arguments(checkpoint, EngineOptions(max_streams=8), 24 * GIB)
    assert arguments["kv_cache_memory_bytes"] == 8 * 2_048 * 114_688
    assert arguments["gpu_memory_utilization"] == pytest.approx((6 + 1.75 + 1.5) / 24)
    assert arguments["max_model_len"] == 8_192


def test_a_segment_of_full_length_fits_however_few_streams_there_are(written):
    arguments = engine_arguments(read_checkpoint(written()), EngineOptions(max_streams=1), None)
    assert arguments["kv_cache_memory_bytes"] == 8_192 * 114_688
    assert "gpu_memory_utilization" not in arguments


def test_two_gpus_share_weights_and_cache(written):
    checkpoint = read_checkpoint(written())
    need = EngineOptions(tensor_parallel=2).memory_bytes(checkpoint)
    assert need == pytest.approx((3 + 0.875 + 1.5) * GIB)


def test_a_share_that_the_user_names_is_left_to_the_engine(written):
    arguments = engine_arguments(read_checkpoint(written()), EngineOptions(memory_fraction=0.5), 24 * GIB)
    assert arguments["gpu_memory_utilization"] == 0.5
    assert "kv_cache_memory_bytes" not in arguments


def test_no_more_context_than_the_checkpoint_has(written):
    assert EngineOptions().context(read_checkpoint(written(max_position_embeddings=2_048))) == 2_048


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"vocab_size": 128_256}, "no Orpheus"),
        ({"size": 0}, "no weights"),
        ({"hidden_size": "?"}, "config.json"),
    ],
)
def test_what_cannot_be_loaded_is_told_apart(written, changes, words):
    with pytest.raises(ModelUnavailableError, match=words):
        read_checkpoint(written(**changes))


def test_a_name_that_is_neither_directory_nor_repository_says_so(tmp_path):
    pytest.importorskip("huggingface_hub")
    with pytest.raises(ModelUnavailableError, match="neither a directory"):
        fetch_checkpoint(str(tmp_path / "nothing" / "here"))
