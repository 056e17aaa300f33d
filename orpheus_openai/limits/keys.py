"""The keys of ORPHEUS_API_KEYS: what each is called, what it is known by, and who of them is an admin."""

import hashlib
import re
from collections.abc import Sequence

import msgspec

from orpheus_openai.errors import ConfigurationError
from orpheus_openai.limits.caller import key_account

ADMIN = "admin"
_HASH = "sha256"

# What says that it is a hash is never taken for a key, however many digits it has.
_ENTRY = re.compile(
    r"(?:(?P<name>[^:]*):)??(?:sha256:(?P<hash>[0-9a-f]{64})|(?!sha256:)(?P<key>[^:]+))(?P<admin>:admin)?",
    re.IGNORECASE,
)
_FORMS = (
    "key, name:key and name:sha256:HEX with 64 digits, the latter two with :admin behind them for an admin"
)


class Key(msgspec.Struct, frozen=True):
    """A key that is accepted; only its hash is kept."""

    name: str
    digest: bytes
    admin: bool

    @property
    def account(self) -> str:
        """Who they are that have it."""
        return key_account(self.name)


def read_keys(entries: Sequence[str]) -> list[Key]:
    """The keys that `entries` are: `key`, `name:key`, `sha256:HEX` or `name:sha256:HEX`; `name:…:admin` makes an admin.

    One without a name is called `key-` and its place. A key that is the only one is an admin's. Raises
    ConfigurationError, which names the entry by its place and never quotes it.
    """
    keys: dict[str, Key] = {}
    for place, entry in enumerate(entries, start=1):
        key = _read(entry, place, alone=len(entries) == 1)
        if key.name in keys:
            raise ConfigurationError(f"ORPHEUS_API_KEYS: entry {place} has the name of an earlier one")
        keys[key.name] = key
    return list(keys.values())


def _read(entry: str, place: int, *, alone: bool) -> Key:
    found = _ENTRY.fullmatch(entry)
    if (
        found is None
        or found["name"] == ""
        or _HASH in ((found["name"] or "").lower(), found["key"])
        # KEY:admin could be a name whose key is the word, and would then be logged.
        or (found["key"] or "").lower() == ADMIN
        or (found["admin"] and found["name"] is None)
    ):
        raise ConfigurationError(f"ORPHEUS_API_KEYS: entry {place} is not one of {_FORMS}")
    digest = bytes.fromhex(found["hash"]) if found["hash"] else hashlib.sha256(found["key"].encode()).digest()
    return Key(found["name"] or f"key-{place}", digest, alone or bool(found["admin"]))
