"""What a GGUF file says of itself, before it is loaded.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import mmap
import struct
from pathlib import Path
from typing import Any

import msgspec

from orpheus_openai.errors import ModelUnavailableError
from orpheus_openai.gpu.policy import GIB
from orpheus_openai.models.orpheus.checkpoint import Shape

MAGIC = b"GGUF"

OVERHEAD = GIB // 2
"""What llama.cpp's process takes beside weights and cache: itself, and room to calculate in."""

CACHE_NUMBER_BYTES = 2
"""llama.cpp keeps keys and values as 16-bit numbers."""

QUANTISATIONS = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16",
}  # fmt: skip
"""Names of `general.file_type`."""

_NUMBERS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"
}  # fmt: skip
_STRING, _ARRAY = 8, 9

_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 10: (256, 84),
    11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292), 20: (32, 18), 23: (256, 136),
    30: (1, 2),
}  # fmt: skip
"""Of a tensor's type: numbers in a block, and its bytes."""


class GGUFHeader(msgspec.Struct, frozen=True, kw_only=True):
    """What a file says of itself."""

    path: Path
    architecture: str
    quantisation: str
    """E.g. `Q4_K_M`; `unknown` where the file does not tell."""
    shape: Shape
    file_bytes: int
    expected_bytes: int
    """How large it must be at least to hold its tensors."""

    @property
    def context(self) -> int:
        """Tokens that the model was trained on at once."""
        return self.shape.max_position_embeddings

    def cache_bytes(self, tokens: int) -> int:
        """Memory of keys and values for that many tokens."""
        return self.shape.cache_bytes(tokens, CACHE_NUMBER_BYTES)

    def memory_bytes(self, tokens: int, adapters: int = 0, rank: int = 0) -> int:
        """Memory that llama.cpp needs with a cache of that many tokens, and so many adapters of that rank."""
        held = adapters * self.shape.adapter_bytes(rank)
        return self.file_bytes + self.cache_bytes(tokens) + held + OVERHEAD


def read_header(path: Path) -> GGUFHeader:
    """Read a file's header, its tensors' places included; raises ModelUnavailableError where it is damaged."""
    size = path.stat().st_size
    damaged = f"{path} is not a usable GGUF file"
    try:
        with path.open("rb") as file:
            if file.read(4) != MAGIC:
                raise ModelUnavailableError(
                    f"{damaged}: it does not begin with GGUF's mark. Was it downloaded whole, and not a web page or a "
                    "pointer of Git LFS in its place?"
                )
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return _Fields(content).header(path, size)
    except (struct.error, IndexError, UnicodeDecodeError, ValueError, OverflowError, KeyError) as error:
        raise ModelUnavailableError(
            f"{damaged}: its header is truncated or damaged. Download it again."
        ) from error


class _Fields:
    """Goes through a header, from the first key to the last tensor."""

    def __init__(self, content: mmap.mmap) -> None:
        self._content = content
        self._place = len(MAGIC)

    def header(self, path: Path, size: int) -> GGUFHeader:
        version = self._number("<I")
        if version not in (2, 3):
            raise ModelUnavailableError(
                f"{path} is in version {version} of GGUF, and this server reads 2 and 3. Convert it again."
            )
        tensors, keys = self._number("<Q"), self._number("<Q")
        fields = {}
        for _ in range(keys):
            name = self._string()
            fields[name] = self._value(self._number("<I"))
        ends = [self._tensor() for _ in range(tensors)]
        alignment = fields.get("general.alignment", 32)
        start = -(-self._place // alignment) * alignment
        return _header(path, fields, size, start + max(ends) if ends else self._place)

    def _number(self, form: str) -> Any:
        (value,) = struct.unpack_from(form, self._content, self._place)
        self._place += struct.calcsize(form)
        return value

    def _string(self) -> str:
        length = self._number("<Q")
        self._move(length)
        return self._content[self._place - length : self._place].decode()

    def _move(self, length: int) -> None:
        self._place += length
        if self._place > len(self._content):
            raise IndexError

    def _value(self, kind: int) -> Any:
        """Read a value; of an array its length."""
        if kind == _STRING:
            return self._string()
        if kind != _ARRAY:
            return self._number(_NUMBERS[kind])
        item, length = self._number("<I"), self._number("<Q")
        if item == _STRING:
            unpack, content, place = struct.Struct("<Q").unpack_from, self._content, self._place
            for _ in range(length):  # hundreds of thousands
                place += 8 + unpack(content, place)[0]
            self._place = place
            self._move(0)
        elif item == _ARRAY:
            for _ in range(length):
                self._value(item)
        else:
            self._move(length * struct.calcsize(_NUMBERS[item]))
        return length

    def _tensor(self) -> int:
        """Read a tensor's entry; returns where its numbers end, from the start of all of them."""
        self._string()
        count = 1
        for _ in range(self._number("<I")):
            count *= self._number("<Q")
        numbers, size = _BLOCKS.get(self._number("<I"), (1, 0))
        return int(self._number("<Q") + count // numbers * size)


def _header(path: Path, fields: dict[str, Any], size: int, expected: int) -> GGUFHeader:
    architecture = fields["general.architecture"]

    def of_model(key: str, default: int = 0) -> int:
        return int(fields.get(f"{architecture}.{key}", default))

    heads = of_model("attention.head_count")
    shape = Shape(
        layers=of_model("block_count"),
        vocab_size=int(fields.get("tokenizer.ggml.tokens", 0)) or of_model("vocab_size"),
        hidden_size=of_model("embedding_length"),
        num_attention_heads=heads,
        max_position_embeddings=of_model("context_length"),
        num_key_value_heads=of_model("attention.head_count_kv", heads),
        head_dim=of_model("attention.key_length") or None,
        intermediate_size=of_model("feed_forward_length") or None,
    )
    return GGUFHeader(
        path=path,
        architecture=architecture,
        quantisation=QUANTISATIONS.get(fields.get("general.file_type", -1), "unknown"),
        shape=shape,
        file_bytes=size,
        expected_bytes=expected,
    )
