"""A model's GGUF file fetched from the hub: mirrors in their order, room on the disk, checksum; its setting kept."""

import hashlib
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec

from orpheus_openai.catalog import Model
from orpheus_openai.errors import InvalidRequestError, ModelUnavailableError
from orpheus_openai.gpu.policy import GIB
from orpheus_openai.models.hub import fetching, first_that_gives, hub_cache, look
from orpheus_openai.models.orpheus.gguf_file import (
    USUAL_QUANTISATION,
    fetch_gguf,
    quantisations_of,
)
from orpheus_openai.settings import checkpoint_variable

SPARE_BYTES = GIB // 2
"""Of the disk, to be left free."""

_PIECE = 1 << 22

Tell = Callable[[str], None]
"""Shows a line to whoever waits."""


class RepositoryFile(msgspec.Struct, frozen=True):
    """A file that a repository has."""

    repo: str
    file: str
    quantisation: str
    size: int
    """Bytes."""
    sha256: str | None
    """In hexadecimal digits; None where the hub tells none."""

    @property
    def name(self) -> str:
        """What a setting calls it."""
        return f"{self.repo}:{self.quantisation}"


def pull(model: Model, quantisation: str | None, tell: Tell) -> str:
    """Fetch a model's file, and return its name for a setting. Blocking; a broken download is taken up again.

    Mirrors are tried in the catalog's order. Raises InvalidRequestError for a model that no repository is known of,
    ModelUnavailableError, with what each mirror said, when none gives it.
    """
    from huggingface_hub import hf_hub_download  # noqa: PLC0415  # heavy, and only needed here

    _require_known(model)
    wanted = (quantisation or _usual(model)).lower()

    def fetch(repo: str) -> str:
        try:
            offer = _offer(repo, wanted)
            check_room(offer)
            tell(f"{offer.name}, {offer.size / GIB:.2f} GiB")
            with fetching(repo):
                path = Path(hf_hub_download(repo, offer.file))
            _check(path, offer)
        except ModelUnavailableError as error:
            tell(f"{repo}: {error.message}")
            raise
        return offer.name

    return first_that_gives(model.gguf, fetch, f"No mirror gave {model.id} as {wanted}.")


def offered(model: Model, quantisation: str | None = None) -> RepositoryFile:
    """What the first mirror that has the file tells of it. Blocking; raises as `pull` does."""
    _require_known(model)
    wanted = (quantisation or _usual(model)).lower()
    return first_that_gives(
        model.gguf, lambda repo: _offer(repo, wanted), f"No mirror has {model.id} as {wanted}."
    )


def _usual(model: Model) -> str:
    """The quantisation that is taken where none is named: the usual one, or the one that its repositories are for."""
    told = [next(iter(quantisations_of([repo])), "") for repo in model.gguf]
    return told[0] if all(told) else USUAL_QUANTISATION


def _require_known(model: Model) -> None:
    if not model.gguf:
        raise InvalidRequestError(
            f"No GGUF file of {model.id} is known. If you have one, set {checkpoint_variable(model.id)} to it.",
            param="model",
        )


def save_setting(dotenv: Path, name: str, value: str) -> None:
    """Write a setting into an `.env` file, in the place of the one that is there, and leave all else as it is.

    Raises OSError where that cannot be done, and then all is as it was.
    """
    dotenv = dotenv.resolve()  # where it is a link, it stays one
    lines = dotenv.read_text(encoding="utf-8").splitlines() if dotenv.exists() else []
    old = re.compile(rf"\s*(export\s+)?{re.escape(name)}\s*=")
    place = next((number for number, line in enumerate(lines) if old.match(line)), len(lines))
    kept = [line for line in lines if not old.match(line)]
    written = dotenv.with_name(f"{dotenv.name}.{os.getpid()}")
    try:
        written.touch(mode=0o600)  # there may be keys in it
        written.write_text("\n".join([*kept[:place], f"{name}={value}", *kept[place:], ""]), encoding="utf-8")
        if dotenv.exists():
            shutil.copymode(dotenv, written)
        written.replace(dotenv)
    except OSError:
        written.unlink(missing_ok=True)
        raise


def _offer(repo: str, wanted: str) -> RepositoryFile:
    files = {sibling.rfilename: sibling for sibling in look(repo, files_metadata=True).siblings or []}
    names = quantisations_of(list(files))
    if wanted not in names:
        has = ", ".join(sorted(names)) or "no GGUF file"
        raise ModelUnavailableError(f"There is no {wanted} in {repo}; it has {has}.")
    file = files[names[wanted]]
    return RepositoryFile(repo, file.rfilename, wanted, file.size or 0, file.lfs.sha256 if file.lfs else None)


def check_room(offer: RepositoryFile) -> None:
    """Raise ModelUnavailableError where the disk has no room for it."""
    folder = hub_cache()
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < offer.size + SPARE_BYTES and not is_here(offer):
        raise ModelUnavailableError(
            f"It takes {offer.size / GIB:.2f} GiB, and {free / GIB:.2f} GiB are free in {folder}. Make room, or name "
            "another disk in HF_HUB_CACHE."
        )


def is_here(offer: RepositoryFile) -> bool:
    """Whether it has been downloaded."""
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415

    return isinstance(try_to_load_from_cache(offer.repo, offer.file), str)


def _check(path: Path, offer: RepositoryFile) -> None:
    """Compare with what the hub tells, and with what can speak; raises ModelUnavailableError.

    What is not that is removed: a server would take it for one that speaks.
    """
    try:
        _check_sum(path, offer)
        fetch_gguf(str(path))
    except ModelUnavailableError:
        path.resolve().unlink()
        path.unlink(missing_ok=True)
        raise


def _check_sum(path: Path, offer: RepositoryFile) -> None:
    if offer.sha256 is None:
        return
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    if digest.hexdigest() != offer.sha256:
        raise ModelUnavailableError(f"{offer.file} is not what {offer.repo} holds: its checksum differs.")
