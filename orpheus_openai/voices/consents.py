"""Consents: recordings in which somebody says that a voice may be made of theirs."""

import re
import secrets
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import msgspec

from orpheus_openai.voices.form import RECORDING, toml
from orpheus_openai.voices.places import Places

PREFIX = "cons_"
_ID = re.compile(PREFIX + "([0-9a-f]{8})[0-9a-f]{16}")
"""The time at which it was given, and what nobody can guess."""
_DESCRIPTION = "consent.toml"


class Consent(msgspec.Struct, frozen=True, kw_only=True):
    """A consent that was given."""

    id: str
    name: str
    """What it was called when it was uploaded."""
    language: str
    """BCP 47, e.g. `en-US`."""
    created: int
    """Unix time."""
    owner: str = ""
    """The account that uploaded it; empty: nobody's, so everybody's."""


def consent_order(consent: Consent) -> tuple[int, str]:
    """What consents are listed by, the newest first."""
    return -consent.created, consent.id


def order_of(consent_id: str) -> tuple[int, str] | None:
    """The same of one that need not be there any more, as its id tells it; None for what is no id of one."""
    found = _ID.fullmatch(consent_id)
    return None if found is None else (-int(found[1], 16), consent_id)


class ConsentFolder:
    """`ROOT/.consents/ID/`. All methods work on the disk at once and belong into a thread."""

    def __init__(self, root: Path) -> None:
        """`root` is the folder of voices."""
        self._places = Places(root.expanduser() / ".consents")

    def read(self) -> list[Consent]:
        """All of them, the newest first."""
        found = []
        for folder in self._places.folders():
            try:
                table = tomllib.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))
                found.append(msgspec.convert({**table, "id": folder.name}, Consent))
            except (OSError, ValueError, RecursionError):
                continue  # just removed, or not ours
        return sorted(found, key=consent_order)

    def add(self, name: str, language: str, owner: str, put: Callable[[Path], object]) -> Consent:
        """Keep a consent; `put` writes the recording to the path it is given. Raises VoiceFolderError."""
        now = int(time.time())
        consent = Consent(
            id=f"{PREFIX}{now:08x}{secrets.token_hex(8)}",
            name=name,
            language=language,
            created=now,
            owner=owner,
        )

        def lay(staging: Path) -> None:
            put(staging / RECORDING)
            (staging / _DESCRIPTION).write_text(_described(consent), encoding="utf-8")

        self._places.add(consent.id, lay)
        return consent

    def rename(self, consent: Consent, name: str) -> Consent:
        """Call it otherwise; raises VoiceFolderError."""
        renamed = msgspec.structs.replace(consent, name=name)
        self._places.write(consent.id, _DESCRIPTION, _described(renamed))
        return renamed

    def remove(self, consent: Consent) -> bool:
        """Remove it; False where it is gone. Raises VoiceFolderError."""
        return self._places.remove(consent.id)


def _described(consent: Consent) -> str:
    fields = msgspec.to_builtins(consent)
    del fields["id"]
    return toml(fields)
