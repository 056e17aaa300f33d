"""A checkpoint as a GGUF file: whether a name means one, where it is, and whether it is an Orpheus."""

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path

from orpheus_openai.errors import ModelUnavailableError
from orpheus_openai.gpu.policy import GIB
from orpheus_openai.models.hub import fetching, hub_cache, look
from orpheus_openai.models.orpheus.checkpoint import VOCABULARY
from orpheus_openai.models.orpheus.gguf_header import GGUFHeader, read_header

SUFFIX = ".gguf"


USUAL_QUANTISATION = "q4_k_m"
"""Which of a repository's files is taken where none is named: the smallest that is said to speak well."""


_QUANTISED_NAME = re.compile(r"[./_-](I?Q\d\w*|F16|F32|BF16)(?=\.gguf$)", re.IGNORECASE)
_HUB_NAME = re.compile(r"^[\w.-]+/[\w.-]+(:[\w-]+)?$")


def means_gguf(checkpoint: str) -> bool:
    """Whether a checkpoint's name means GGUF: a file, a folder that holds one, or a hub name. Looks at the disk only.

    Of hub names those do that end in `.gguf` or `-GGUF`, and those with a quantisation, `repo:q4_k_m`.
    """
    path = Path(checkpoint).expanduser()
    if path.is_dir():
        return not any(path.glob("*.safetensors")) and any(path.glob(f"*{SUFFIX}"))
    name = checkpoint.lower()
    return name.endswith((SUFFIX, "-gguf")) or (bool(_HUB_NAME.match(checkpoint)) and ":" in checkpoint)


def is_missing(checkpoint: str) -> bool:
    """Whether a checkpoint's name can only be a path, and nothing is there."""
    is_path = checkpoint.startswith(("/", ".", "~")) or (
        means_gguf(checkpoint) and not _HUB_NAME.match(checkpoint)
    )
    return is_path and not Path(checkpoint).expanduser().exists()


def fetch_gguf(checkpoint: str) -> GGUFHeader:
    """Find the file that a name means, downloaded if it is not there, and read its header. Blocking.

    Raises ModelUnavailableError when there is no such file, it is damaged, or it is not an Orpheus model.
    """
    path = Path(checkpoint).expanduser()
    if path.is_dir():
        path = path / _chosen([file.name for file in path.glob(f"*{SUFFIX}")], "", str(path))
    elif not path.is_file():
        if not _HUB_NAME.match(checkpoint):
            raise ModelUnavailableError(f"There is no file {path}.")
        path = _download(checkpoint)
    header = read_header(path)
    _check(header)
    return header


def quantisations_of(names: list[str]) -> dict[str, str]:
    """The GGUF files among `names` by their quantisations, in lower case, as their names tell them."""
    found = {}
    for name in names:
        if name.lower().endswith(SUFFIX):
            match = _QUANTISED_NAME.search(name)
            found[match[1].lower() if match else Path(name).stem.lower()] = name
    return found


def _check(header: GGUFHeader) -> None:
    """Raise ModelUnavailableError unless the file is whole, and an Orpheus."""
    path = header.path
    if header.file_bytes < header.expected_bytes:
        raise ModelUnavailableError(
            f"{path} is not whole: it has {header.file_bytes / GIB:.2f} of {header.expected_bytes / GIB:.2f} GiB. "
            "Download it again."
        )
    if header.architecture != "llama":
        raise ModelUnavailableError(
            f"{path} is not an Orpheus model: its architecture is {header.architecture}, and Orpheus is a llama."
        )
    shape = header.shape
    if shape.vocab_size < VOCABULARY:
        raise ModelUnavailableError(
            f"{path} is not an Orpheus model: its vocabulary has {shape.vocab_size} tokens, and text with audio takes "
            f"{VOCABULARY}. Name a file that was made from a checkpoint that speaks."
        )
    if not (shape.layers and shape.hidden_size and shape.num_attention_heads):
        raise ModelUnavailableError(
            f"{path} is no GGUF file that can be used: it does not say how large the model is. Download it again."
        )


def gguf_at_hand(checkpoint: str) -> Path | None:
    """The file that a name means, where it is on this machine's disk; its header is not looked at."""
    path = Path(checkpoint).expanduser()
    if path.is_file():
        return path
    repo, _, wanted = checkpoint.partition(":")
    files = list(path.glob(f"*{SUFFIX}")) if path.is_dir() else sorted(_cached(repo))
    with contextlib.suppress(ModelUnavailableError):
        chosen = _chosen([file.name for file in files], "" if path.is_dir() else wanted, checkpoint)
        return next(file for file in files if file.name == chosen)
    return None


def downloaded_gguf(repos: Sequence[str]) -> str | None:
    """The name, `repo:quantisation`, of a file that is there already of one of the repositories."""
    for repo in repos:
        if found := quantisations_of([file.name for file in _cached(repo)]):
            chosen = USUAL_QUANTISATION if USUAL_QUANTISATION in found else min(found)
            return f"{repo}:{chosen}"
    return None


def _chosen(names: list[str], wanted: str, where: str) -> str:
    """Choose a file by its quantisation; the only one there is needs no name."""
    found = quantisations_of(names)
    if not found:
        raise ModelUnavailableError(f"There is no {SUFFIX} file in {where}.")
    wanted = wanted.lower()
    if not wanted:
        return found[USUAL_QUANTISATION] if USUAL_QUANTISATION in found else found[min(found)]
    if wanted not in found:
        raise ModelUnavailableError(f"There is no {wanted} in {where}; it has {', '.join(sorted(found))}.")
    return found[wanted]


def _download(name: str) -> Path:
    """Fetch the file that a hub name means, `repo` or `repo:quantisation`, or find it among what was fetched."""
    repo, _, wanted = name.partition(":")
    if here := gguf_at_hand(name):
        return here
    from huggingface_hub import hf_hub_download  # noqa: PLC0415  # heavy, and only needed here

    names = [sibling.rfilename for sibling in look(repo).siblings or []]
    chosen = _chosen(names, wanted, repo)
    with fetching(repo):
        return Path(hf_hub_download(repo, chosen))


def _cached(repo: str) -> list[Path]:
    return list((hub_cache() / f"models--{repo.replace('/', '--')}").glob(f"snapshots/*/*{SUFFIX}"))
