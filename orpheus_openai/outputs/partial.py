"""A file that is being written: it has its name, and is seen, only once it is whole."""

import contextlib
import os
from pathlib import Path
from typing import BinaryIO

from orpheus_openai.audio.lengths import write_lengths

PARTIAL = ".partial"


class PartialFile:
    """A file that is being written, under a name that no listing shows."""

    def __init__(self, folder: Path, name: str) -> None:
        self._target = folder / name
        self._path = folder / f".{name}{PARTIAL}"
        self._file: BinaryIO | None = None

    def create(self) -> None:
        """Make it, and the folder; raises OSError, as all of these do."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("x+b")

    def write(self, chunk: bytes) -> None:
        """Add to its end."""
        self._opened().write(chunk)

    def finish(self, audio_format: str | None = None) -> None:
        """Bring everything to the disk, and then give the file its name."""
        file = self._opened()
        if audio_format is not None:
            write_lengths(file, audio_format)
        file.flush()
        os.fsync(file.fileno())
        file.close()
        self._path.replace(self._target)

    def discard(self) -> None:
        """Remove what there is of it, if it can be; nothing where it has its name."""
        with contextlib.suppress(OSError):
            if self._file is not None:
                self._file.close()
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _opened(self) -> BinaryIO:
        if self._file is None:
            raise ValueError("the file was not created")
        return self._file
