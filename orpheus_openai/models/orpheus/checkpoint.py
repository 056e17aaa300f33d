"""A checkpoint before it is loaded: where it is, whether it is an Orpheus, how much memory it needs."""

import json
import math
import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from orpheus_openai.errors import ModelUnavailableError
from orpheus_openai.models.hub import first_that_gives, folder_at_hand, folder_of
from orpheus_openai.models.orpheus.frames import LAST_AUDIO_TOKEN
from orpheus_openai.models.orpheus.memory import ONLINE_BYTES
from orpheus_openai.models.orpheus.tokenizer import TOKENIZER_FILE

VOCABULARY = LAST_AUDIO_TOKEN + 1
"""The least a model must have: the text, the special tokens, and a codebook for each place in a frame."""

HEADER_BYTES = 100 << 20
"""The most a safetensors file may say of itself, by its format's own limit."""

_FILES = ["*.json", "*.safetensors"]
"""What an engine reads; the published repositories also hold the optimizer's state, many times as large."""

_SHARD = re.compile(r"-of-(\d{1,5})\.safetensors$")

_LINEAR = re.compile(r"\.layers\.\d+\..*_proj\.weight$")
"""The layers that quantisation on loading changes."""

_EMBEDDING, _HEAD = "model.embed_tokens.weight", "lm_head.weight"
_PLAIN = {"F32", "F16", "BF16"}


class Shape(msgspec.Struct, frozen=True, rename={"layers": "num_hidden_layers"}):
    """What a Llama's `config.json` says about its size."""

    layers: int
    vocab_size: int
    hidden_size: int
    num_attention_heads: int
    max_position_embeddings: int
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    intermediate_size: int | None = None
    tie_word_embeddings: bool = False
    """Whether the head is the embedding: files may hold it twice, an engine holds it once."""
    quantization_config: dict[str, Any] | None = None
    """Present where the files hold quantised numbers."""
    architectures: tuple[str, ...] = ()

    def cache_bytes(self, tokens: int, number_bytes: int = 2) -> int:
        """Memory of keys and values for that many tokens."""
        heads = self.num_key_value_heads or self.num_attention_heads
        return 2 * self.layers * heads * self.head_width * number_bytes * tokens

    @property
    def head_width(self) -> int:
        """Numbers in one attention head."""
        return self.head_dim or self.hidden_size // self.num_attention_heads

    @property
    def projections(self) -> dict[str, tuple[int | None, int | None]]:
        """Inputs and outputs of what an adapter may change in each layer; None where `config.json` does not say."""
        hidden, inner = self.hidden_size, self.intermediate_size
        queries = self.num_attention_heads * self.head_width
        keys = (self.num_key_value_heads or self.num_attention_heads) * self.head_width
        return {
            "q_proj": (hidden, queries),
            "k_proj": (hidden, keys),
            "v_proj": (hidden, keys),
            "o_proj": (queries, hidden),
            "gate_proj": (hidden, inner),
            "up_proj": (hidden, inner),
            "down_proj": (inner, hidden),
        }

    def adapter_bytes(self, rank: int, number_bytes: int = 2) -> int:
        """Memory of an adapter of that rank which changes all of it: a row and a column for each rank."""
        edges = sum(side or 0 for sides in self.projections.values() for side in sides)
        return self.layers * edges * rank * number_bytes


class Weights(msgspec.Struct, frozen=True):
    """The numbers that an engine holds of a checkpoint's files."""

    linear: int
    """Numbers in the layers that can be quantised while they are loaded."""
    other: int
    """Numbers in embedding, head and norms."""
    stored: int
    """Bytes of all of them as they are in the files."""
    linear_edges: int = 0
    """Rows and columns together of the layers that an adapter can change."""
    plain_ends: bool = True
    """Whether embedding and head are plain numbers with a row for each id, under the names of a Llama."""


class Checkpoint(msgspec.Struct, frozen=True):
    """A checkpoint on this machine's disk."""

    directory: Path
    shape: Shape
    weights: Weights

    @property
    def quantized(self) -> bool:
        """Whether its files hold quantised numbers."""
        return self.shape.quantization_config is not None

    def weight_bytes(self, number_bytes: int = 2, quantization: str | None = None) -> int:
        """Memory of the weights, quantised as its files are or as `quantization`, by vLLM's name, makes them."""
        if self.quantized:
            return self.weights.stored
        linear = ONLINE_BYTES.get(quantization or "", number_bytes)
        return round(self.weights.linear * linear) + self.weights.other * number_bytes


def fetch_checkpoint(*names: str, setting: str = "ORPHEUS_MODEL_MEDIUM_3B") -> Checkpoint:
    """The checkpoint by the first of `names` that there is: directories or Hugging Face repo ids. Blocking.

    What is here already comes before what would be downloaded. Raises ModelUnavailableError when there is none, no
    access to it, or it is no Orpheus, with each name, why not, and `setting` as the way out; NotReadyError when the
    hub cannot be reached.
    """

    def fetch(name: str) -> Checkpoint:
        return read_checkpoint(folder_of(name, _FILES, _is_whole))

    here = [name for name in names if folder_at_hand(name, _is_whole)]
    return first_that_gives(
        [*here, *(name for name in names if name not in here)],
        fetch,
        f"Or set {setting} to the folder of a checkpoint that is on this machine, or to another repository.",
    )


def _is_whole(directory: Path) -> bool:
    """Whether a download has come to its end: every file of weights is there, as many as their names tell."""
    files = {file.name for file in directory.glob("*.safetensors")}
    counts = [int(match[1]) for name in files if (match := _SHARD.search(name))]
    named = [(directory / name).is_file() for name in ("config.json", TOKENIZER_FILE)]
    return all(named) and len(files) >= max(counts, default=1)


def read_checkpoint(directory: Path) -> Checkpoint:
    """Look at a checkpoint on disk; raises ModelUnavailableError when it is not an Orpheus model."""
    try:
        config: dict[str, Any] = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        shape = msgspec.convert(config, Shape)
    except (OSError, ValueError, RecursionError) as error:
        raise ModelUnavailableError(
            f"{directory} is not the checkpoint of a Llama: its config.json cannot be used ({error}). "
            "Name a directory with config.json, *.safetensors and tokenizer.json."
        ) from error
    if shape.vocab_size < VOCABULARY:
        raise ModelUnavailableError(
            f"{directory} is not an Orpheus model: its vocabulary has {shape.vocab_size} tokens, and text with audio "
            f"takes {VOCABULARY}. Name a checkpoint that was trained to speak."
        )
    files = sorted(directory.glob("*.safetensors"))
    if not files:
        raise ModelUnavailableError(f"{directory} holds no weights: there is no *.safetensors file in it.")
    return Checkpoint(directory=directory, shape=shape, weights=_weights(files, shape))


def _weights(files: Sequence[Path], shape: Shape) -> Weights:
    """Count what an engine keeps, from the files' headers alone."""
    tensors = {name: tensor for file in files for name, tensor in header(file).items()}
    linear = other = stored = edges = 0
    for name, tensor in tensors.items():
        if name.endswith(".inv_freq") or (shape.tie_word_embeddings and name.startswith("lm_head.")):
            continue
        count = math.prod(tensor.shape)
        stored += tensor.data_offsets[1] - tensor.data_offsets[0]
        if _LINEAR.search(name):
            linear += count
            edges += sum(tensor.shape)
        else:
            other += count
    return Weights(
        linear=linear, other=other, stored=stored, linear_edges=edges, plain_ends=_plain_ends(tensors, shape)
    )


def _plain_ends(tensors: "dict[str, Tensor]", shape: Shape) -> bool:
    ends = {name: tensor for name, tensor in tensors.items() if "embed_tokens" in name or "lm_head" in name}
    needed = {_EMBEDDING} if shape.tie_word_embeddings else {_EMBEDDING, _HEAD}
    rows_of_ids = [shape.vocab_size, shape.hidden_size]
    return needed <= ends.keys() <= {_EMBEDDING, _HEAD} and all(
        tensor.dtype in _PLAIN and tensor.shape == rows_of_ids for tensor in ends.values()
    )


class Tensor(msgspec.Struct, frozen=True):
    """A tensor of a safetensors file, as its header tells."""

    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


def header(file: Path) -> dict[str, Tensor]:
    """Names and shapes of a safetensors file: eight bytes of length, then JSON (its format's description)."""
    try:
        entries = msgspec.json.decode(_header_text(file), type=dict[str, msgspec.Raw])
        entries.pop("__metadata__", None)
        return {name: msgspec.json.decode(entry, type=Tensor) for name, entry in entries.items()}
    except (OSError, ValueError, RecursionError, struct.error) as error:
        raise ModelUnavailableError(
            f"{file} does not hold weights: its header cannot be read ({error}). Download it again."
        ) from error


def _header_text(file: Path) -> bytes:
    with file.open("rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        text = opened.read(min(length, HEADER_BYTES))
    if len(text) < length:
        raise ValueError(f"it is to have {length} bytes, and there are {len(text)}")
    return text


def header_bytes(file: Path) -> int:
    """Where in a safetensors file whose header can be read the numbers begin."""
    with file.open("rb") as opened:
        return 8 + int(struct.unpack("<Q", opened.read(8))[0])
