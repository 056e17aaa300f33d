"""The form of a catalog file: which tables it has, and what they hold. What is wrong is said with its place."""

import json
import re
from pathlib import Path
from typing import Any

from orpheus_openai.errors import ConfigurationError

TABLES = ("models", "voices", "languages")
ALIASED = ("models", "voices")
TOP = (*TABLES, "aliases", "emotion_tags", "directions")


def check_form(table: dict[str, Any], source: Path) -> None:
    """Raise ConfigurationError for the first thing in `table`, as TOML was read, that is not of the form."""
    try:
        _names(table, TOP, "")
        for section in TABLES:
            for key, entry in _table(table, section, f"such as [{section}.NAME]").items():
                _check_entry(section, key, entry)
        _check_aliases(_table(table, "aliases", "such as [aliases.voices]"))
        _check_tags(table.get("emotion_tags", []))
        _check_directions(_table(table, "directions", "such as [directions.en]"))
    except _WrongFormError as error:
        raise ConfigurationError(f"{source}: {error}") from None


def toml_key(key: str) -> str:
    """A key as one writes it in TOML."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)


class _WrongFormError(ValueError):
    pass


def _names(table: dict[str, Any], known: tuple[str, ...], place: str) -> None:
    for name in table:
        if name not in known:
            raise _WrongFormError(
                f"{place}{toml_key(name)}: there is no such table; there are {', '.join(known)}"
            )


def _table(table: dict[str, Any], name: str, form: str, place: str = "") -> dict[str, Any]:
    found = table.get(name, {})
    if not isinstance(found, dict):
        raise _WrongFormError(f"{place}{name}: expected a table, {form}")
    return found


def _check_entry(section: str, key: str, entry: Any) -> None:
    place = f"[{section}.{toml_key(key)}]"
    if not isinstance(entry, dict):
        raise _WrongFormError(f"[{section}] {toml_key(key)}: expected a table, {place}")
    folded = key.strip().lower()
    if not key or key != folded:
        raise _WrongFormError(
            f"{place}: names are matched in any case, so write it in lower case: {toml_key(folded or 'name')}"
        )
    if entry.get("id", key) != key:
        raise _WrongFormError(f"{place} id: it is '{key}', the name of the table; leave the line out")


def _check_aliases(aliases: dict[str, Any]) -> None:
    _names(aliases, ALIASED, "[aliases] ")
    for section in ALIASED:
        for name, target in _table(aliases, section, f"[aliases.{section}]", "[aliases] ").items():
            if not isinstance(target, str):
                raise _WrongFormError(
                    f"[aliases.{section}] {toml_key(name)}: expected the name it stands for"
                )


def _check_tags(tags: Any) -> None:
    good = isinstance(tags, list) and all(
        isinstance(tag, str) and re.fullmatch(r"[^<>\s]+", tag) for tag in tags
    )
    if not good:
        raise _WrongFormError(
            'emotion_tags: expected a list of words without < and >, such as ["laugh", "sigh"]'
        )


def _check_directions(directions: dict[str, Any]) -> None:
    for language in directions:
        words = _table(directions, language, f"[directions.{toml_key(language)}]", "[directions] ")
        for tag, meanings in words.items():
            if not isinstance(meanings, list) or not all(isinstance(m, str) and m.strip() for m in meanings):
                raise _WrongFormError(
                    f'[directions.{toml_key(language)}] {toml_key(tag)}: expected a list of words, such as ["laughs"]'
                )
