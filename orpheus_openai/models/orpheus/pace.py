"""How fast llama.cpp speaks on this machine, what would make it faster, and the measure kept for the next start."""

import contextlib
import json
import os
from pathlib import Path

import msgspec

from orpheus_openai.models.orpheus.frames import REALTIME_TOKENS_PER_SECOND
from orpheus_openai.models.orpheus.gguf_header import GGUFHeader

COMFORT = 1.1
"""How many times as fast as it is played speech must be made, to keep up when other programs want something, too."""

MOST_KEPT = 50
"""Measures in the file; the oldest go."""

FEW_CORES = 4
"""With fewer threads, more of them help; with many it is the memory that is too slow."""

_SMALL = ("Q2", "Q3", "Q4", "IQ", "TQ")
"""Quantisations than which a smaller one is no better bargain."""


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """A measure of one stream alone."""

    tokens_per_second: float
    quantisation: str
    device: str
    threads: int

    @property
    def real_time_factor(self) -> float:
        """Seconds of work for a second of audio."""
        return REALTIME_TOKENS_PER_SECOND / self.tokens_per_second

    @property
    def keeps_up(self) -> bool:
        """Whether speech will not run dry."""
        return self.tokens_per_second >= COMFORT * REALTIME_TOKENS_PER_SECOND

    @property
    def advice(self) -> str:
        """How far off it is, and what would help; empty where it keeps up."""
        if self.keeps_up:
            return ""
        ways = []
        if not self.quantisation.startswith(_SMALL):
            ways.append(f"a smaller quantisation than {self.quantisation}, such as q4_k_m")
        if self.device == "CPU":
            if self.threads < FEW_CORES:
                ways.append(f"more processor cores than the {self.threads} it uses")
            ways.append("faster memory")
            ways.append("a graphics card, by a llama-server built for it in ORPHEUS_LLAMA_SERVER")
        else:
            ways.append("more of its layers on the card (ORPHEUS_GPU_LAYERS), or a faster card")
        return (
            f"Speech will not keep up with a listener: {self.tokens_per_second:.0f} tokens a second of the "
            f"{REALTIME_TOKENS_PER_SECOND:.0f} that real time takes, {1 / self.real_time_factor:.2f} × real time. "
            f"What would help: {'; '.join(ways)} (docs/hardware.md)."
        )


def keep(header: GGUFHeader, pace: Pace) -> None:
    """Note it for the next start; where nothing can be written, nothing is kept."""
    with contextlib.suppress(OSError):
        known = _read()
        known.pop(key := _key(header.path), None)
        known[key] = msgspec.to_builtins(pace)
        file = _file()
        file.parent.mkdir(parents=True, exist_ok=True)
        written = file.with_suffix(f".{os.getpid()}")
        written.write_text(json.dumps(dict(list(known.items())[-MOST_KEPT:])), encoding="utf-8")
        written.replace(file)


def kept(path: Path) -> Pace | None:
    """What was measured of that file when it was loaded last on this machine."""
    with contextlib.suppress(msgspec.ValidationError, OSError):
        if (found := _read().get(_key(path))) is not None:
            return msgspec.convert(found, Pace)
    return None


def _key(path: Path) -> str:
    whole = path.expanduser().resolve()
    return f"{whole}:{whole.stat().st_size}"


def _read() -> dict[str, object]:
    try:
        return dict(json.loads(_file().read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _file() -> Path:
    """In the user's cache folder (https://specifications.freedesktop.org/basedir-spec)."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "orpheus-openai" / "paces.json"
