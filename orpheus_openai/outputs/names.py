"""What files are called that are kept: a name tells when, who and what, and nothing leads out of the folder."""

import itertools
import os
import re
import secrets
import unicodedata
from collections.abc import Mapping
from datetime import datetime

from orpheus_openai.audio.formats import FORMATS

WRITTEN_AS: Mapping[str, str] = {f".{audio_format.extension}": name for name, audio_format in FORMATS.items()}
"""Formats of files of ours, by their suffixes."""

CAPTION_TYPES = {"srt": "application/x-subrip", "vtt": "text/vtt; charset=utf-8", "json": "application/json"}
"""Captions may lie beside a speech, under its name with one of these for a suffix; their media types."""

TEXT_CHARACTERS, VOICE_CHARACTERS = 32, 16
"""So much of each stands in a name, which with the widest letters is still shorter than LONGEST_NAME."""

LONGEST_NAME = 255
"""Bytes; what file systems take."""


def new_name(voice: str, text: str, audio_format: str) -> str:
    """Make a name like 2026-11-23-tara-hello-there-1a2b3c.wav: when, who, what, and something unique."""
    spoken = re.sub(r"<[^<>]{0,40}>", " ", text[:1000])
    parts = (
        datetime.now().astimezone().date().isoformat(),
        _words(voice, VOICE_CHARACTERS),
        _words(spoken, TEXT_CHARACTERS),
        secrets.token_hex(3),
    )
    return "-".join(part for part in parts if part) + "." + FORMATS[audio_format].extension


def _words(text: str, limit: int) -> str:
    """Letters, their marks and digits of any script, joined by hyphens; whole words as far as they fit."""
    plain = unicodedata.normalize("NFC", text.lower())
    kept = "".join(c if unicodedata.category(c)[0] in "LMN" else " " for c in plain).split()
    lengths = itertools.accumulate(len(word) + 1 for word in kept)
    fitting = [word for word, length in zip(kept, lengths, strict=True) if length <= limit + 1]
    return "-".join(fitting) or "".join(kept[:1])[:limit]


def format_of(name: str) -> str | None:
    """Tell the format of a name that can be a finished file in the folder itself; None for any other."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:  # no JSON and no URL can hold it
        return None
    if not 0 < size <= LONGEST_NAME:
        return None
    confined = not name.startswith(".") and not any(
        c in "/\\" or unicodedata.category(c) == "Cc" for c in name
    )
    suffix = os.path.splitext(name)[1]  # noqa: PTH122  no path, a name
    if not confined:
        return None
    return WRITTEN_AS.get(suffix) or (suffix[1:] if suffix[1:] in CAPTION_TYPES else None)


def captions_name(name: str, caption_format: str) -> str:
    """What captions are called that lie beside the speech of that name, so that players find them."""
    return f"{os.path.splitext(name)[0]}.{caption_format}"  # noqa: PTH122  no path, a name
