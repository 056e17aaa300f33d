"""A LoRA adapter in llama.cpp's form: its tensors renamed, the rows of queries and keys in the order of a GGUF file's.

The form: https://github.com/ggml-org/llama.cpp/blob/master/convert_lora_to_gguf.py
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from orpheus_openai.errors import ModelUnavailableError, NotReadyError
from orpheus_openai.models.orpheus.adapter_file import TENSOR, WEIGHTS
from orpheus_openai.models.orpheus.adapters import Adapter, fetch_adapter
from orpheus_openai.models.orpheus.checkpoint import Shape, header, header_bytes

NAMES = {
    "q_proj": "attn_q",
    "k_proj": "attn_k",
    "v_proj": "attn_v",
    "o_proj": "attn_output",
    "gate_proj": "ffn_gate",
    "up_proj": "ffn_up",
    "down_proj": "ffn_down",
}


PREFIX = "orpheus-openai-adapters-"


class AdapterFiles:
    """Adapters as files that llama.cpp can be started with, until it is: then they are in its memory.

    They are kept in a temporary folder while an engine has them, for the next start. All methods are blocking.
    """

    def __init__(self, shape: Shape, largest_rank: int) -> None:
        self._shape = shape
        self._largest_rank = largest_rank
        self._folder: Path | None = None
        self._paths: dict[str, Path] = {}
        self._count = 0

    def fetch(self, named: str) -> Adapter:
        """See `fetch_adapter`, for this model."""
        return fetch_adapter(named, self._shape, self._largest_rank)

    def write(self, named: str, edition: str) -> None:
        """Have a file of that edition, unless it is there; raises as `fetch` does, NotReadyError for a full disk."""
        if edition in self._paths and self._paths[edition].exists():
            return
        adapter = self.fetch(named)
        try:
            if self._folder is None:
                self._folder = _folder()
            self._folder.mkdir(mode=0o700, exist_ok=True)  # temporary folders are cleared of what is old
            self._count += 1
            path = self._folder / f"{self._count}.gguf"
            write_gguf_adapter(adapter, self._shape, path)
        except OSError as error:
            raise NotReadyError(
                f"The adapter in {adapter.directory} could not be written as a GGUF file in {tempfile.gettempdir()}: "
                f"{error.strerror or error}.",
                code="model_load_failed",
                retry_after=30,
            ) from error
        self._paths[edition] = path

    def path(self, edition: str) -> Path:
        """Where it is."""
        return self._paths[edition]

    def keep(self, editions: Collection[str]) -> None:
        """Remove all others."""
        for edition in self._paths.keys() - set(editions):
            self._paths.pop(edition).unlink(missing_ok=True)

    def close(self) -> None:
        """Remove all of them."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def _folder() -> Path:
    """A new folder of this process; those of servers that were killed go."""
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        with contextlib.suppress(ValueError):
            if not _runs(int(left.name.removeprefix(PREFIX).partition("-")[0])):
                shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def write_gguf_adapter(adapter: Adapter, shape: Shape, path: Path) -> None:
    """Write it as 16-bit numbers, for a model of that shape. Blocking: a second for a large one.

    Raises ModelUnavailableError where its numbers cannot be used, OSError where it cannot be written.
    """
    import gguf  # noqa: PLC0415  # heavy, and only needed here
    import torch  # noqa: PLC0415

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, adapter.alpha)
    for name, numbers in _read(adapter.directory / WEIGHTS):
        if not torch.isfinite(numbers).all():
            raise ModelUnavailableError(
                f"The adapter in {adapter.directory} cannot be used: {name} holds numbers that no training gives.",
                param="voice",
            )
        renamed, half, projection = _renamed(name)
        turned = half == "b" and projection in {"q_proj", "k_proj"}
        rows = _paired(numbers, _heads(shape, projection)) if turned else numbers
        writer.add_tensor(renamed, rows.contiguous().numpy())
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def _read(path: Path) -> Iterator[tuple[str, Any]]:
    """The matrices in an adapter's file, each as a tensor of 16-bit numbers; raises OSError where it has changed."""
    import torch  # noqa: PLC0415

    kinds = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
    begin = header_bytes(path)
    # Not mapped: who writes over it meanwhile would end this process.
    with path.open("rb") as file:
        for name, tensor in header(path).items():
            start, end = tensor.data_offsets
            file.seek(begin + start)
            content = bytearray(file.read(end - start))
            if len(content) < end - start or tensor.dtype not in kinds:
                raise OSError("it has changed meanwhile")
            numbers = torch.frombuffer(content, dtype=kinds[tensor.dtype])
            yield name, numbers.reshape(tensor.shape).to(torch.float16)


def _renamed(name: str) -> tuple[str, str, str]:
    """llama.cpp's name of a tensor, which half of the product it is, and of which projection."""
    found = TENSOR.fullmatch(name)
    assert found is not None  # noqa: S101  it has been looked at
    layer, projection, half = found[1], found[2], found[3].lower()
    return f"blk.{layer}.{NAMES[projection]}.weight.lora_{half}", half, projection


def _heads(shape: Shape, projection: str) -> int:
    heads = shape.num_attention_heads
    return heads if projection == "q_proj" else shape.num_key_value_heads or heads


def _paired(rows: Any, heads: int) -> Any:
    """Put together what a rotation turns: safetensors have the two halves of a head, GGUF files have pairs."""
    width = rows.shape[0] // heads
    return rows.reshape(heads, 2, width // 2, -1).transpose(1, 2).reshape(rows.shape)
