"""Whose a saved file is: noted beside it, so that it outlives the server and goes where the folder goes."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

SUFFIX = ".owner"
LONGEST_OWNER = 1024

MaySee = Callable[[str | None], bool]
"""Whether somebody may see what belongs to an account; None: what belongs to nobody."""


def unowned(owner: str | None) -> bool:
    """What may be seen by whoever does not say who they are: what belongs to nobody."""
    return owner is None


class Owners:
    """The notes of one folder: for `a.wav` a file `.a.wav.owner` that holds the account.

    A file without a note that can be read belongs to nobody. All methods work on the disk at once.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, str] = {}
        """Owners that were read once: a note never changes while its file is there."""

    def of(self, name: str) -> str | None:
        """The account whose file it is; None: nobody's."""
        if name not in self._known:
            try:
                note = os.open(self._note(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            except OSError:
                return None
            with os.fdopen(note, "rb") as file:
                owner = file.read(LONGEST_OWNER).decode(errors="replace")
            if not owner:
                return None
            self._known[name] = owner
        return self._known[name]

    def note(self, name: str, owner: str) -> None:
        """Bring it to the disk, before the file itself has its name."""
        with self._note(name).open("w", encoding="utf-8") as file:
            file.write(owner)
            file.flush()
            os.fsync(file.fileno())

    def forget(self, name: str) -> None:
        """The file is gone."""
        self._known.pop(name, None)
        with contextlib.suppress(OSError):
            self._note(name).unlink()

    def left_behind(self) -> list[Path]:
        """Notes whose files were removed by somebody else."""
        return [
            note
            for note in self._folder.glob(f".*{SUFFIX}")
            if not os.path.lexists(self._folder / note.name[1 : -len(SUFFIX)])
        ]

    def _note(self, name: str) -> Path:
        return self._folder / f".{name}{SUFFIX}"
