"""The folder of voices on the disk: what is in it, and how a voice is added, changed or removed at one stroke."""

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from orpheus_openai.catalog import Catalog, OwnVoice
from orpheus_openai.errors import SpeechError
from orpheus_openai.voices.form import (
    DESCRIPTION,
    VoiceError,
    VoiceFile,
    described,
    make_voice,
    read_description,
)

STAGING = ".new-"
"""Begins the name of a folder that is not whole yet, or not any more."""
ABANDONED_SECONDS = 3600
MOST_VOICES = 1_000
"""Folders that are read; more are left out, and that is said."""


class VoiceFolderError(SpeechError):
    """The folder of voices cannot be used; the message names it and says why."""

    code = "voice_folder_failed"


class VoiceExistsError(VoiceError):
    """There is a voice in that place."""


class Found(NamedTuple):
    """What is in the folder."""

    voices: list[OwnVoice]
    problems: dict[str, str]
    """Why others that are there cannot be spoken with, by their folder."""


class VoiceFolder:
    """`ROOT/NAME/voice.toml` and what it names beside it; several servers may share it.

    A voice has its place only once it is whole, and leaves it before it is taken apart: whoever reads meanwhile, or
    after the power went, finds all of it or nothing. All methods work on the disk at once and belong into a thread.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser()

    def state(self) -> object:
        """What changes whenever a voice is added, changed or removed."""
        state = []
        for folder in self._folders():
            with contextlib.suppress(OSError):
                status = (folder / DESCRIPTION).stat()
                state.append((folder.name, status.st_mtime_ns, status.st_size, status.st_ino))
        return state

    def read(self, catalog: Catalog) -> Found:
        """Every voice, in the order of their folders' names; `catalog` has the names that are taken."""
        voices: list[OwnVoice] = []
        problems: dict[str, str] = {}
        taken: dict[tuple[str, str | None], str] = {}
        for count, folder in enumerate(self._folders()):
            if count >= MOST_VOICES:
                problems[folder.name] = f"there are more than {MOST_VOICES} voices"
                break
            try:
                voice = self.voice(folder.name, catalog)
            except FileNotFoundError:
                continue  # a folder of something else, or it has just been removed
            except (VoiceError, OSError) as error:
                problems[folder.name] = str(error)
                continue
            for owner in {voice.owner, None if voice.shared else voice.owner}:
                if (other := taken.setdefault((voice.title.lower(), owner), folder.name)) != folder.name:
                    problems[folder.name] = f"name: '{voice.title}' is the voice in {other}"
            if folder.name not in problems:
                voices.append(voice)
        return Found(voices, problems)

    def voice(self, name: str, catalog: Catalog) -> OwnVoice:
        """The voice in the folder of that name; raises VoiceError, and OSError where there is none."""
        folder = self.root / name
        return make_voice(name.lower(), read_description(folder / DESCRIPTION), folder, catalog)

    def add(
        self,
        name: str,
        file: VoiceFile,
        catalog: Catalog,
        put: Callable[[Path], object] = lambda _folder: None,
    ) -> OwnVoice:
        """Add a voice in the folder `name`; `put` lays its data into the folder it is given.

        Raises VoiceError for one that cannot be, VoiceExistsError where there is one, VoiceFolderError; then nothing of
        it is left.
        """
        with self._reported("written"):
            self.root.mkdir(parents=True, exist_ok=True)
            self._tidy()
            staging = self.root / f"{STAGING}{secrets.token_hex(8)}"
            staging.mkdir(mode=0o700)
            try:
                put(staging)
                (staging / DESCRIPTION).write_text(described(file), encoding="utf-8")
                make_voice(name.lower(), file, staging, catalog)
                _to_disk(staging)
                try:
                    staging.rename(self.root / name)
                except OSError as error:
                    if (self.root / name).exists():
                        raise VoiceExistsError(f"there is a voice {name} already") from error
                    raise
            except BaseException:
                shutil.rmtree(staging, ignore_errors=True)
                raise
            _flush(self.root)
            return self.voice(name, catalog)

    def change(self, name: str, file: VoiceFile) -> None:
        """Put another description in the place of its own."""
        with self._reported("written"):
            description = self.root / name / f".{DESCRIPTION}-{secrets.token_hex(4)}"
            try:
                with description.open("w", encoding="utf-8") as out:
                    out.write(described(file))
                    out.flush()
                    os.fsync(out.fileno())
                description.replace(self.root / name / DESCRIPTION)
            finally:
                description.unlink(missing_ok=True)

    def remove(self, name: str) -> bool:
        """Remove a voice and its data; False where there is none."""
        with self._reported("written"):
            gone = self.root / f"{STAGING}{secrets.token_hex(8)}"
            try:
                (self.root / name).rename(gone)
            except FileNotFoundError:
                return False
            _flush(self.root)
            shutil.rmtree(gone, ignore_errors=True)
            return True

    def _folders(self) -> Iterator[Path]:
        try:
            names = sorted(os.listdir(self.root))  # noqa: PTH208  names are all that is needed
        except (FileNotFoundError, NotADirectoryError):
            return
        for name in names:
            path = self.root / name
            if not name.startswith(".") and path.is_dir() and not path.is_symlink():
                yield path

    def _tidy(self) -> None:
        """Remove what a process that died has left half done."""
        oldest = time.time() - ABANDONED_SECONDS
        for path in self.root.glob(f"{STAGING}*"):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < oldest:
                    shutil.rmtree(path, ignore_errors=True)

    @contextlib.contextmanager
    def _reported(self, verb: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise VoiceFolderError(
                f"The folder of voices {self.root} cannot be {verb}: {error.strerror or error}. ORPHEUS_VOICES names "
                "another."
            ) from error


def _to_disk(folder: Path) -> None:
    """Everything in it is on the disk when this returns."""
    for path in [*folder.rglob("*"), folder]:
        _flush(path)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
