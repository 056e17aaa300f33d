"""The folder of voices on the disk: what is in it, and how a voice is added, changed or removed at one stroke."""

import contextlib
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from orpheus_openai.catalog import Catalog, OwnVoice
from orpheus_openai.voices.form import (
    DESCRIPTION,
    AtHand,
    VoiceError,
    VoiceFile,
    described,
    make_voice,
    read_description,
    require,
)
from orpheus_openai.voices.places import Places

MOST_VOICES = 1_000
"""Folders that are read; more are left out, and that is said."""
MOST_FILES = 64
"""Of a voice that are looked at for changes."""


class VoiceExistsError(VoiceError):
    """There is such a voice."""


class Found(NamedTuple):
    """What is in the folder."""

    voices: list[OwnVoice]
    problems: dict[str, str]
    """Why others that are there cannot be spoken with, by their folder."""


class VoiceFolder:
    """`ROOT/NAME/voice.toml` and what it names beside it; several servers may share it.

    Whoever reads while a voice is added or removed, or after the power went, finds all of it or nothing. All methods
    work on the disk at once and belong into a thread.
    """

    def __init__(self, root: Path, at_hand: AtHand = lambda _repository: None) -> None:
        self.root = root.expanduser()
        self._at_hand = at_hand
        self._repositories: set[str] = set()
        """Of adapters that were named when the folder was read last."""
        self._places = Places(self.root)

    def state(self) -> object:
        """What changes whenever a voice is added, changed or removed, or what lies beside its description."""
        entries = islice(self._places.entries(), 2 * MOST_VOICES)
        stamps = [(path.name, path.is_symlink() or _stamps(path)) for path in entries]
        return stamps, {name: self._at_hand(name) for name in self._repositories}

    def read(self, catalog: Catalog) -> Found:
        """Every voice, in the order of their folders' names; `catalog` has the names that are taken."""
        voices: list[OwnVoice] = []
        problems = self._strays()
        ids: dict[str, str] = {}
        taken: dict[tuple[str, str | None], str] = {}
        for count, folder in enumerate(self._places.folders()):
            if count >= MOST_VOICES:
                problems[folder.name] = f"there are more than {MOST_VOICES} voices"
                break
            try:
                voice = self.voice(folder.name, catalog)
            except FileNotFoundError:
                if any(folder.glob("*.toml")):
                    problems[folder.name] = f"there is no {DESCRIPTION} in it"
                continue  # else it is a folder of something else, or has just been removed
            except VoiceError as error:
                problems[folder.name] = str(error)
                continue
            except OSError as error:
                problems[folder.name] = f"it cannot be read: {error.strerror or error}"
                continue
            if (other := ids.setdefault(voice.id, folder.name)) != folder.name:
                problems[folder.name] = (
                    f"its folder's name differs from {other} in upper and lower case alone"
                )
            elif (other := taken.setdefault((voice.title.lower(), voice.owner), folder.name)) != folder.name:
                problems[folder.name] = f"name: '{voice.title}' is the voice in {other}"
            else:
                voices.append(voice)
        self._repositories = {
            each.adapter for each in voices if each.adapter and not Path(each.adapter).is_absolute()
        }
        return Found(voices, problems)

    def _strays(self) -> dict[str, str]:
        """What is there in the place of a voice, or of the folder itself, and why it is none."""
        try:
            next(self.root.iterdir(), None)
        except FileNotFoundError:
            return {}
        except OSError as error:
            return {".": f"the folder of voices cannot be read: {error.strerror or error}"}
        problems = {}
        for path in self._places.entries():
            if path.is_symlink():
                problems[path.name] = "it is a symbolic link; the folder itself has to be here"
            elif path.suffix == ".toml" and path.is_file():
                problems[path.name] = f"a voice is a folder with {DESCRIPTION} in it"
        return problems

    def voice(self, name: str, catalog: Catalog) -> OwnVoice:
        """The voice in the folder of that name; raises VoiceError, and OSError where there is none."""
        folder = self.root / name
        return make_voice(name, read_description(folder / DESCRIPTION), folder, catalog, self._at_hand)

    def description(self, name: str) -> VoiceFile:
        """What its description says; raises as `voice` does."""
        return read_description(self.root / name / DESCRIPTION)

    def require(self, name: str, file: VoiceFile, catalog: Catalog) -> None:
        """Raise what `add` would for anything but the data, which cost more to make."""
        require(file, name.lower(), catalog)
        title = file.name.strip().lower()
        for other in self.read(catalog).voices:
            if other.title.lower() == title and other.owner == (file.owner or None):
                raise VoiceExistsError(f"name: there is a voice '{other.title}' already")

    def add(
        self,
        name: str,
        file: VoiceFile,
        catalog: Catalog,
        put: Callable[[Path], object] = lambda _folder: None,
    ) -> OwnVoice:
        """Add a voice in the folder `name`; `put` lays its data into the folder it is given.

        Raises VoiceError for one that cannot be, VoiceExistsError where there is such a one, VoiceFolderError; then
        nothing of it is left.
        """
        self.require(name, file, catalog)

        def lay(staging: Path) -> None:
            put(staging)
            (staging / DESCRIPTION).write_text(described(file), encoding="utf-8")
            make_voice(name, read_description(staging / DESCRIPTION), staging, catalog, self._at_hand)

        if not self._places.add(name, lay):
            raise VoiceExistsError(f"there is a voice in {self.root / name} already")
        problem = self.read(catalog).problems.get(name)
        if problem is not None:  # another server has added one of that name meanwhile
            self.remove(name)
            raise VoiceExistsError(problem)
        return self.voice(name, catalog)

    def remove(self, name: str) -> bool:
        """Remove a voice and its data; False where there is none. Raises VoiceFolderError."""
        return self._places.remove(name)


def _stamps(path: Path, depth: int = 2) -> list[tuple[object, ...]]:
    """Of a file or folder, and of what is in it, what tells that it is another."""
    with contextlib.suppress(OSError):
        status = path.stat()
        stamps: list[tuple[object, ...]] = [(path.name, status.st_mtime_ns, status.st_size, status.st_ino)]
        if depth and path.is_dir():
            for inside in islice(path.iterdir(), MOST_FILES):
                stamps += _stamps(inside, depth - 1)
        return stamps
    return []
