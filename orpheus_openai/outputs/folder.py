"""The output folder: speech that is kept, under names that tell what it is, as long as was allowed."""

import asyncio
import contextlib
import errno
import itertools
import logging
import os
import stat
import time
from collections.abc import AsyncIterable, Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec
from msgspec import Meta

from orpheus_openai.audio.formats import FORMATS
from orpheus_openai.errors import NotFoundError, SpeechError
from orpheus_openai.outputs.names import CAPTION_TYPES, WRITTEN_AS, captions_name, format_of, new_name
from orpheus_openai.outputs.owners import MaySee, Owners, unowned
from orpheus_openai.outputs.partial import PARTIAL, PartialFile
from orpheus_openai.threads import finished

ABANDONED_SECONDS = 24 * 3600
"""A file that is being written is touched far more often; one so old belongs to a process that died."""

SECONDS_PER_HOUR = 3600

NO_LONGER_A_FILE = (errno.ENOENT, errno.ELOOP, errno.ENXIO)
"""How a file cannot be opened that went away, or became a link or a socket, since it was looked at."""

logger = logging.getLogger(__name__)


class OutputError(SpeechError):
    """The output folder cannot be used; the message names it and says why."""

    code = "output_folder_failed"


class SavedFile(msgspec.Struct, frozen=True):
    """A finished file of the folder."""

    name: Annotated[str, Meta(examples=["2026-11-23-tara-hello-there-1a2b3c.wav"])]
    bytes: Annotated[int, Meta(examples=[96_044])]
    created: Annotated[float, Meta(description="Unix time in seconds.", examples=[1795428000.0])]
    format: Annotated[str, Meta(examples=["wav"])]

    @property
    def media_type(self) -> str:
        """What its bytes are, e.g. `audio/wav`."""
        return CAPTION_TYPES.get(self.format) or FORMATS[self.format].media_type


class OutputFolder:
    """One flat folder; only finished audio files in it are seen, and nothing outside it is touched.

    Captions may lie beside a file: they are its owner's, are in no list, and go with it.

    `max_age_hours` and `max_bytes` say what is kept, 0 for no limit; the oldest files go first. All methods
    but `save` work on the disk at once and belong into a thread.

    Each file belongs to the account that it was saved for, or to nobody. Whoever lists, opens or deletes says by
    `may_see` which accounts' files are there for them; the others are as if they did not exist.
    """

    def __init__(self, root: Path, *, max_age_hours: float = 0.0, max_bytes: int = 0) -> None:
        self._root = root
        self._owners = Owners(root)
        self._max_age = max_age_hours * SECONDS_PER_HOUR
        self._max_bytes = max_bytes

    async def save(
        self,
        chunks: AsyncIterable[bytes],
        *,
        voice: str,
        text: str,
        audio_format: str,
        owner: str | None = None,
    ) -> SavedFile:
        """Write encoded audio to a new file, which has its name only once it is whole; then `prune`.

        `owner` is the account whose it is; None: nobody's.

        Raises OutputError, and whatever `chunks` raises; then nothing stays behind.
        """
        name = new_name(voice, text, audio_format)
        partial = PartialFile(self._root, name)
        try:
            await self._written(partial.create)
            async for chunk in chunks:
                await self._written(partial.write, chunk)
            if owner is not None:  # first, so that it is at no moment anybody else's
                await self._written(self._owners.note, name, owner)
            await self._written(partial.finish, audio_format)
        except BaseException:
            partial.discard()  # without an await, so that it happens when the request is cancelled, too
            self._owners.forget(name)
            raise
        saved = await asyncio.to_thread(self._saved, name)
        await asyncio.to_thread(self.prune, keep=name)
        return saved

    async def save_captions(self, name: str, captions: Mapping[str, str]) -> dict[str, str]:
        """Put captions, whole files by their formats, beside the speech of that name; returns their names by format.

        Raises OutputError.
        """
        names: dict[str, str] = {}
        for caption_format, content in captions.items():
            partial = PartialFile(self._root, captions_name(name, caption_format))
            try:
                await self._written(partial.create)
                await self._written(partial.write, content.encode())
                await self._written(partial.finish)
            except BaseException:
                partial.discard()
                raise
            names[caption_format] = captions_name(name, caption_format)
        return names

    def list_files(self, may_see: MaySee = unowned) -> list[SavedFile]:
        """Every finished speech, newest first; raises OutputError when the folder cannot be read."""
        with self._reported("read"):
            seen = (file for file in self._files() if may_see(self._owners.of(file.name)))
            return sorted(seen, key=lambda file: (-file.created, file.name))

    def open(self, name: str, may_see: MaySee = unowned) -> tuple[BinaryIO, SavedFile]:
        """Open a file to read, which the caller closes; raises NotFoundError unless it is a finished file."""
        with self._reported("read"):
            if self._find(name) is None or not may_see(self._owner(name)):
                raise _unknown(name)
            try:
                # If it has become a link or a pipe since, this neither follows nor waits.
                descriptor = os.open(self._root / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            except OSError as error:
                if error.errno in NO_LONGER_A_FILE:
                    raise _unknown(name) from error
                raise
        found = _describe(name, os.fstat(descriptor))
        if found is None:
            os.close(descriptor)
            raise _unknown(name)
        return os.fdopen(descriptor, "rb"), found

    def delete(self, name: str, may_see: MaySee = unowned) -> None:
        """Remove a file; raises NotFoundError as `open` does."""
        with self._reported("changed"):
            if self._find(name) is None or not may_see(self._owner(name)):
                raise _unknown(name)
            self._unlink(name)

    def prune(self, *, keep: str | None = None) -> list[str]:
        """Remove what is too old or too much, oldest first, but never `keep`; returns the names.

        What cannot be removed is logged, not raised: nobody's request hangs on it.
        """
        removed: list[str] = []
        try:
            for path in self._abandoned():
                self._removed(path)
            removed = [name for name in self._superfluous(keep) if self._given_up(name)]
        except OSError as error:
            logger.warning("the output folder %s cannot be tidied: %s", self._root, error.strerror)
        if removed:
            logger.info("removed %d old files from %s", len(removed), self._root)
        return removed

    async def _written(self, step: Callable[..., object], *arguments: object) -> None:
        """Do one step in a thread, and wait for its end, also when cancelled: it writes nothing later."""
        with self._reported("written"):
            await finished(step, *arguments)

    def _saved(self, name: str) -> SavedFile:
        with self._reported("read"):
            found = self._find(name)
        if found is None:
            raise OutputError(f"The file {name} was removed while it was being saved.")
        return found

    def _owner(self, name: str) -> str | None:
        return self._owners.of(self._speech_of(name) or name)

    def _speech_of(self, name: str) -> str | None:
        """The speech beside which these captions lie; None where they are none, or lie there alone."""
        if format_of(name) not in CAPTION_TYPES:
            return None
        stem = os.path.splitext(name)[0]  # noqa: PTH122  no path, a name
        names = (stem + suffix for suffix in WRITTEN_AS)
        return next((each for each in names if _lstat(self._root / each) is not None), None)

    def _unlink(self, name: str) -> None:
        """Remove a file, and with a speech its captions."""
        (self._root / name).unlink(missing_ok=True)
        if format_of(name) in FORMATS:
            for caption_format in CAPTION_TYPES:
                (self._root / captions_name(name, caption_format)).unlink(missing_ok=True)
            self._owners.forget(name)

    def _given_up(self, name: str) -> bool:
        try:
            self._unlink(name)
        except OSError as error:
            logger.warning("%s cannot be removed: %s", self._root / name, error.strerror)
            return False
        return True

    def _find(self, name: str) -> SavedFile | None:
        found = format_of(name)
        if found is None or (found in CAPTION_TYPES and self._speech_of(name) is None):
            return None
        status = _lstat(self._root / name)
        return None if status is None else _describe(name, status)

    def _files(self) -> Iterator[SavedFile]:
        try:
            entries = os.listdir(self._root)  # noqa: PTH208  names are all that is needed
        except FileNotFoundError:  # nothing was saved yet
            return
        for name in entries:
            if format_of(name) in FORMATS and (found := self._find(name)) is not None:
                yield found

    def _superfluous(self, keep: str | None) -> list[str]:
        if not self._max_age and not self._max_bytes:
            return []
        newest_first = sorted(self._files(), key=lambda file: (file.name == keep, file.created), reverse=True)
        sizes = itertools.accumulate(file.bytes for file in newest_first)
        now = time.time()
        too_much = [
            file.name
            for file, size in zip(newest_first, sizes, strict=True)
            if file.name != keep
            and (
                (self._max_bytes and size > self._max_bytes)
                or (self._max_age and now - file.created > self._max_age)
            )
        ]
        return too_much[::-1]

    def _abandoned(self) -> list[Path]:
        oldest = time.time() - ABANDONED_SECONDS
        return [
            path
            for path in (*self._root.glob(f".*{PARTIAL}"), *self._owners.left_behind())
            if (status := _lstat(path)) is not None
            and stat.S_ISREG(status.st_mode)
            and status.st_mtime < oldest
        ]

    def _removed(self, path: Path) -> bool:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("%s cannot be removed: %s", path, error.strerror)
            return False
        return True

    @contextlib.contextmanager
    def _reported(self, verb: str) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"The output folder {self._root} cannot be {verb}: {error.strerror or error}. "
                "ORPHEUS_OUTPUT_DIR names another."
            ) from error


def _lstat(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def _describe(name: str, status: os.stat_result) -> SavedFile | None:
    audio_format = format_of(name)
    if audio_format is None or not stat.S_ISREG(status.st_mode):
        return None
    return SavedFile(name, status.st_size, round(status.st_mtime, 3), audio_format)


def _unknown(name: str) -> NotFoundError:
    return NotFoundError(
        f"There is no file {name[:200]!r}; GET /api/files lists them.", param="name", code="file_not_found"
    )
