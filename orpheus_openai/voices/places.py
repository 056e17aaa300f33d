"""Folders that are there whole or not at all, whatever ends the process that makes or removes them."""

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from orpheus_openai.errors import SpeechError

STAGING = ".new-"
"""Begins the name of a folder that is not whole yet, or not any more."""
ABANDONED_SECONDS = 3600


class VoiceFolderError(SpeechError):
    """The folder of voices cannot be used; the message names it and says why."""

    code = "voice_folder_failed"


class Places:
    """The folders in one folder, each of which has its name only once it is whole.

    All methods work on the disk at once.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def folders(self) -> Iterator[Path]:
        """Those that are whole, by their names."""
        return (path for path in self.entries() if path.is_dir() and not path.is_symlink())

    def entries(self) -> Iterator[Path]:
        """All that is to be seen in the folder, by their names; nothing where it is not there or cannot be read."""
        try:
            names = sorted(os.listdir(self.root))  # noqa: PTH208  names are all that is needed
        except OSError:
            return
        for name in names:
            if not name.startswith("."):
                yield self.root / name

    def add(self, name: str, put: Callable[[Path], object]) -> bool:
        """Make the folder `name`, into which `put` lays everything; False where there is one.

        Raises what `put` does and VoiceFolderError; then nothing is left.
        """
        with self._reported():
            self.root.mkdir(parents=True, exist_ok=True)
            self._tidy()
            staging = self._staging()
            staging.mkdir(mode=0o700)
            try:
                put(staging)
                for path in [*staging.rglob("*"), staging]:
                    _to_disk(path)
                try:
                    staging.rename(self.root / name)
                except OSError:
                    if (self.root / name).exists():
                        return False
                    raise
            finally:
                shutil.rmtree(staging, ignore_errors=True)
            _to_disk(self.root)
        return True

    def write(self, name: str, file: str, content: str) -> None:
        """Put another file in the place of the one in the folder `name`; raises VoiceFolderError."""
        with self._reported():
            new = self.root / name / f".{file}-{secrets.token_hex(4)}"
            try:
                new.write_text(content, encoding="utf-8")
                _to_disk(new)
                new.replace(self.root / name / file)
            finally:
                new.unlink(missing_ok=True)

    def remove(self, name: str) -> bool:
        """Remove the folder, or what is there in its place; False where there is nothing. Raises VoiceFolderError."""
        with self._reported():
            gone = self._staging()
            try:
                (self.root / name).rename(gone)
            except FileNotFoundError:
                return False
            _to_disk(self.root)
            if gone.is_dir() and not gone.is_symlink():
                shutil.rmtree(gone, ignore_errors=True)
            else:  # somebody has laid it there, and it has never been a folder
                gone.unlink(missing_ok=True)
            return True

    def _staging(self) -> Path:
        return self.root / f"{STAGING}{secrets.token_hex(8)}"

    def _tidy(self) -> None:
        """Remove what a process that died has left half done."""
        oldest = time.time() - ABANDONED_SECONDS
        for path in self.root.glob(f"{STAGING}*"):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < oldest:
                    shutil.rmtree(path, ignore_errors=True)

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise VoiceFolderError(
                f"The folder of voices {self.root} cannot be written: {error.strerror or error}. ORPHEUS_VOICES names "
                "another."
            ) from error


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
