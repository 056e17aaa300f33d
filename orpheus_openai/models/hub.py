"""Checkpoints from Hugging Face: several names tried in order, and what goes wrong there said in words."""

import concurrent.futures
import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from orpheus_openai.errors import RETRY_SECONDS, ModelUnavailableError, NotReadyError, SpeechError

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo

ANSWER_SECONDS = 4.0
"""The hub must have answered a first question by then; its own library would try five times, for half a minute."""

LONGEST_REASON = 200
"""Characters of what the hub's library says."""

T = TypeVar("T")

logger = logging.getLogger(__name__)


def first_that_gives(names: Sequence[str], fetch: Callable[[str], T], way_out: str) -> T:
    """What `fetch` gives for the first of `names` that it does not refuse.

    A hub that cannot be reached is not asked for the others (NotReadyError passes). Where all are refused, raises
    ModelUnavailableError with each name, why it was refused, and `way_out`.
    """
    refusals: list[str] = []
    for name in names:
        try:
            found = fetch(name)
        except ModelUnavailableError as error:
            refusals.append(error.message)
            continue
        if refusals:
            logger.warning("%s is used, because: %s", name, " ".join(refusals))
        return found
    raise ModelUnavailableError(" ".join([*refusals, way_out]))


def folder_of(name: str, patterns: Sequence[str], is_whole: Callable[[Path], bool]) -> Path:
    """The folder with the files of a checkpoint: `name` itself, or a repository's, downloaded if need be. Blocking.

    What is in the cache, and whole, is used without asking the hub. Raises as `fetching` does.
    """
    directory = Path(name).expanduser()
    return directory if directory.is_dir() else repository_folder(name, patterns, is_whole)


def repository_folder(name: str, patterns: Sequence[str], is_whole: Callable[[Path], bool]) -> Path:
    """The folder with a repository's files, whatever folder has that name here, too; see `folder_of`."""
    if found := cached_folder(name, is_whole):
        return found
    from huggingface_hub import snapshot_download  # noqa: PLC0415  # heavy, and only needed here

    look(name)
    with fetching(name):
        return Path(snapshot_download(name, allow_patterns=list(patterns)))


def folder_at_hand(name: str, is_whole: Callable[[Path], bool]) -> Path | None:
    """The folder with the files of a checkpoint where it is on this machine's disk: `name` itself, or in the cache."""
    directory = Path(name).expanduser()
    if directory.is_dir():
        return directory
    return cached_folder(name, is_whole)


def cached_folder(name: str, is_whole: Callable[[Path], bool]) -> Path | None:
    """The folder with a repository's files in the hub's cache; None where they are not there, or not all of them."""
    return next(filter(is_whole, _snapshots(name)), None)


def hub_cache() -> Path:
    """Where huggingface_hub keeps what it has downloaded, by its own rules."""
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    return Path(os.environ.get("HF_HUB_CACHE", home / "hub")).expanduser()


def _snapshots(repo_id: str) -> list[Path]:
    """What the cache holds of a repository, the newest of its main branch first.

    https://huggingface.co/docs/huggingface_hub/guides/manage-cache
    """
    repository = hub_cache() / f"models--{repo_id.replace('/', '--')}"
    try:
        found = list((repository / "snapshots").iterdir())
        newest = (repository / "refs" / "main").read_text(encoding="utf-8").strip()
    except OSError:
        return []
    return sorted(found, key=lambda snapshot: snapshot.name != newest)


def look(repo_id: str, **wanted: Any) -> "ModelInfo":
    """What the hub says of a repository, `wanted` as `HfApi.model_info` takes it; raises as `fetching` does.

    Asked once, and for ANSWER_SECONDS at most, name resolution included.
    """
    from huggingface_hub import HfApi  # noqa: PLC0415
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled  # noqa: PLC0415
    from huggingface_hub.utils import validate_repo_id  # noqa: PLC0415

    with fetching(repo_id):
        validate_repo_id(repo_id)
        try:
            return _within(
                ANSWER_SECONDS, lambda: HfApi().model_info(repo_id, timeout=ANSWER_SECONDS, **wanted)
            )
        except (HfHubHTTPError, HFValidationError, OfflineModeIsEnabled):
            raise
        except Exception as error:
            raise NotReadyError(
                f"Hugging Face cannot be reached at {_endpoint()}, where {repo_id} would be downloaded from "
                f"({_in_words(error)}). Check the network and the proxy, or download it elsewhere and name its folder.",
                code="model_load_failed",
                retry_after=RETRY_SECONDS,
            ) from error


@contextlib.contextmanager
def fetching(repo_id: str) -> Iterator[None]:
    """Say in words what goes wrong with the hub inside the block.

    Raises ModelUnavailableError where asking again is of no use, and NotReadyError where it may be.
    """
    from huggingface_hub import errors  # noqa: PLC0415

    try:
        yield
    except SpeechError:
        raise
    except errors.GatedRepoError as error:
        raise ModelUnavailableError(
            f"{repo_id} is given only to those who accept its licence: do so at {_endpoint()}/{repo_id} and set "
            "HF_TOKEN to a token of that account."
        ) from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise ModelUnavailableError(
            f"There is no checkpoint {repo_id}: it is neither a directory here nor a repository on Hugging "
            "Face that can be seen with this HF_TOKEN."
        ) from error
    except errors.OfflineModeIsEnabled as error:
        raise ModelUnavailableError(
            f"{repo_id} is not in the cache, and HF_HUB_OFFLINE forbids asking Hugging Face for it."
        ) from error
    except Exception as error:  # the hub's library raises dozens of kinds
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (401, 403):
            raise ModelUnavailableError(
                f"Hugging Face refused {repo_id} ({_in_words(error)}). Set HF_TOKEN to a token that may read it."
            ) from error
        raise NotReadyError(
            f"{repo_id} could not be downloaded ({_in_words(error)}). Check the network and the disk, or download it "
            "elsewhere and name the directory.",
            code="model_load_failed",
            retry_after=RETRY_SECONDS,
        ) from error


def _within(seconds: float, work: Callable[[], T]) -> T:
    """The result of blocking `work`, or TimeoutError: resolving a name takes no time-out of its own."""
    result: concurrent.futures.Future[T] = concurrent.futures.Future()

    def run() -> None:
        try:
            result.set_result(work())
        except BaseException as error:  # noqa: BLE001  for whoever waits
            result.set_exception(error)

    threading.Thread(target=run, name="hub", daemon=True).start()
    try:
        return result.result(seconds)
    except concurrent.futures.TimeoutError as error:
        raise TimeoutError(f"no answer within {seconds:g} s") from error


def _endpoint() -> str:
    from huggingface_hub import constants  # noqa: PLC0415

    return str(constants.ENDPOINT)


def _in_words(error: Exception) -> str:
    """The first line of what an error says."""
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return said[:LONGEST_REASON].rstrip(".") or type(error).__name__
