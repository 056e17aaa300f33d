"""A checkpoint before it is loaded: where it is, whether it is an Orpheus, how much memory it needs."""

import json
from pathlib import Path
from typing import Any

import httpx
import msgspec

from orpheus_openai.errors import ModelUnavailableError
from orpheus_openai.models.orpheus.frames import LAST_AUDIO_TOKEN

GIB = 1 << 30
VOCABULARY = LAST_AUDIO_TOKEN + 1
"""The least a model must have: the text, the special tokens, and a codebook for each place in a frame."""

ENGINE_OVERHEAD = int(1.5 * GIB)
"""What an engine takes on a GPU beside weights and cache: CUDA's context, activations, captured graphs."""

_FILES = ["*.json", "*.safetensors"]
"""What an engine reads; the published repositories also hold the optimizer's state, many times as large."""


class Shape(msgspec.Struct, frozen=True, rename={"layers": "num_hidden_layers"}):
    """What a Llama's `config.json` says about its size."""

    layers: int
    vocab_size: int
    hidden_size: int
    num_attention_heads: int
    max_position_embeddings: int
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    torch_dtype: str | None = None
    dtype: str | None = None
    """The newer name of `torch_dtype`."""

    def cache_bytes(self, tokens: int, number_bytes: int = 2) -> int:
        """Memory of keys and values for that many tokens."""
        heads = self.num_key_value_heads or self.num_attention_heads
        width = self.head_dim or self.hidden_size // self.num_attention_heads
        return 2 * self.layers * heads * width * number_bytes * tokens


class Checkpoint(msgspec.Struct, frozen=True):
    """A checkpoint on this machine's disk."""

    directory: Path
    shape: Shape
    file_bytes: int
    """Size of the weight files."""

    def weight_bytes(self, number_bytes: int = 2) -> int:
        """Memory of the weights: the files, unless an engine keeps other numbers than they hold."""
        in_files = 4 if "float32" in (self.shape.torch_dtype, self.shape.dtype) else 2
        return self.file_bytes * number_bytes // in_files


def fetch_checkpoint(name: str) -> Checkpoint:
    """Find `name`, a directory or a Hugging Face repo id, downloaded if it is not there. Blocking.

    Raises ModelUnavailableError when there is no such thing, no access to it, or it is no Orpheus.
    """
    directory = Path(name).expanduser()
    if not directory.is_dir():
        directory = _download(name)
    return read_checkpoint(directory)


def read_checkpoint(directory: Path) -> Checkpoint:
    """Look at a checkpoint on disk; raises ModelUnavailableError when it is no Orpheus."""
    try:
        config: dict[str, Any] = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        shape = msgspec.convert(config, Shape)
    except (OSError, ValueError) as error:
        raise ModelUnavailableError(
            f"{directory} is no checkpoint of a Llama: its config.json cannot be used ({error}). "
            "Name a directory with config.json, *.safetensors and tokenizer.json."
        ) from error
    if shape.vocab_size < VOCABULARY:
        raise ModelUnavailableError(
            f"{directory} is no Orpheus: its vocabulary has {shape.vocab_size} tokens, and text with audio "
            f"takes {VOCABULARY}. Name a checkpoint that was trained to speak."
        )
    weights = [file.stat().st_size for file in directory.glob("*.safetensors")]
    if not weights:
        raise ModelUnavailableError(f"{directory} holds no weights: there is no *.safetensors file in it.")
    return Checkpoint(directory=directory, shape=shape, file_bytes=sum(weights))


def _download(repo_id: str) -> Path:
    from huggingface_hub import snapshot_download  # noqa: PLC0415  # heavy, and only needed here
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError  # noqa: PLC0415

    try:
        return Path(snapshot_download(repo_id, allow_patterns=_FILES))
    except GatedRepoError as error:
        raise ModelUnavailableError(
            f"The checkpoint {repo_id} is given only to those who accept its licence: do so at "
            f"https://huggingface.co/{repo_id} and set HF_TOKEN to a token of that account."
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ModelUnavailableError(
            f"There is no checkpoint {repo_id}: it is neither a directory here nor a repository on Hugging "
            "Face that can be seen with this HF_TOKEN."
        ) from error
    except (httpx.HTTPError, OSError, ValueError) as error:
        raise ModelUnavailableError(
            f"The checkpoint {repo_id} could not be downloaded ({error}). Check the network, or download it "
            "elsewhere and name the directory."
        ) from error
