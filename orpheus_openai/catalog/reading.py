"""The catalog, read from `catalog.toml` and the user's own file, and checked."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from orpheus_openai.catalog.definition import DEFAULT_MODEL, Catalog, Language, Model, Voice
from orpheus_openai.catalog.form import ALIASED, check_form, toml_key
from orpheus_openai.errors import ConfigurationError
from orpheus_openai.expected import complaint

BUILTIN = Path(__file__).parents[1] / "catalog.toml"

ENTRIES = {"models": Model, "voices": Voice, "languages": Language}
"""What the entries of each table of a catalog file are."""


def load_catalog(user_file: Path | None = None) -> Catalog:
    """The built-in catalog, with the entries of `user_file` added or put in place of ours.

    Raises ConfigurationError, with the file and the entry named, when it cannot be read or makes no sense.
    """
    sources = [BUILTIN] if user_file is None else [BUILTIN, user_file]
    tables = {source: _read(source) for source in sources}
    merged: dict[str, dict[str, Any]] = {section: {} for section in ENTRIES}
    aliases: dict[str, dict[str, str]] = {section: {} for section in ALIASED}
    tags: list[str] = []
    directions: dict[str, dict[str, list[str]]] = {}
    for source, table in tables.items():
        check_form(table, source)
        for section, entries in merged.items():
            for key, entry in table.get(section, {}).items():
                entries[key] = _convert(
                    {"id": key, **_plain(entries.get(key)), **entry}, ENTRIES[section], source, section, key
                )
        for section, names in aliases.items():
            names |= {
                name.lower(): target for name, target in table.get("aliases", {}).get(section, {}).items()
            }
        tags += table.get("emotion_tags", [])
        for language, words in table.get("directions", {}).items():
            directions[language] = {**directions.get(language, {}), **words}
    catalog = Catalog(
        models=merged["models"],
        voices=merged["voices"],
        languages=merged["languages"],
        emotion_tags=tuple(dict.fromkeys(tags)),
        directions=directions,
        model_aliases=aliases["models"],
        voice_aliases=aliases["voices"],
    )
    _check(catalog, user_file or BUILTIN)
    return catalog


def _plain(entry: Any) -> dict[str, Any]:
    return {} if entry is None else msgspec.to_builtins(entry)


def _convert(entry: dict[str, Any], kind: type, source: Path, section: str, key: str) -> Any:
    try:
        return msgspec.convert(entry, kind)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{source}: [{section}.{toml_key(key)}] {complaint(error, kind)}") from error


@cache
def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"ORPHEUS_CATALOG={path}: cannot be read ({error.strerror}); name a TOML file like catalog.toml"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path}: not valid TOML: {error}") from error


def _check(catalog: Catalog, source: Path) -> None:
    """Every name that is pointed at exists."""
    for voice in catalog.voices.values():
        if voice.language not in catalog.languages:
            raise ConfigurationError(
                f"{source}: voice '{voice.id}' speaks '{voice.language}', which no language entry describes"
            )
        _check_models(catalog, voice, source)
    for model in catalog.models.values():
        for language in model.languages:
            if language not in catalog.languages:
                raise ConfigurationError(
                    f"{source}: model '{model.id}' speaks '{language}', which no language entry describes"
                )
    for alias, target in catalog.voice_aliases.items():
        if target not in catalog.voices:
            raise ConfigurationError(
                f"{source}: the voice alias '{alias}' stands for '{target}', and there is no such voice"
            )
    for alias, target in catalog.model_aliases.items():
        if target != DEFAULT_MODEL and target not in catalog.models:
            raise ConfigurationError(
                f"{source}: the model alias '{alias}' stands for '{target}', and there is no such model"
            )


def _check_models(catalog: Catalog, voice: Voice, source: Path) -> None:
    for name in voice.models:
        named = [m for m in catalog.models.values() if name in (m.id, m.family)]
        if not any(voice.language in m.languages for m in named):
            raise ConfigurationError(
                f"{source}: voice '{voice.id}' is said to be of '{name}', which is not a model that speaks "
                f"'{voice.language}'"
            )
