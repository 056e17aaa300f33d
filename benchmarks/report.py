"""A load run in figures: percentiles, errors by kind, and what they are to be held against."""

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.http_stream import Answer
from benchmarks.playback import Heard


@dataclass(slots=True)
class Outcome:
    """One request and what became of it."""

    text: str
    answer: Answer | None = None
    heard: Heard | None = None
    error: str | None = None
    """The kind, e.g. `status 503`, `broken transfer`, `timeout`."""
    detail: str = ""


@dataclass(slots=True)
class Run:
    """Everything that was measured; times in seconds."""

    outcomes: list[Outcome] = field(default_factory=list)
    wall: float = 0.0
    health_idle: list[float] = field(default_factory=list)
    """Round trips of `GET /health` before the load."""
    health_loaded: list[float] = field(default_factory=list)
    """The same while the load was on."""
    lag: list[float] = field(default_factory=list)
    """How late the driver's own event loop was, each time it was looked at."""
    driver_cpu: float = 0.0
    """Processor time of the driver while the load was on."""
    server: dict[str, float] = field(default_factory=dict)
    """Figures of the server's process, where it is ours."""


def percentiles(
    values: Sequence[float], *, best_is_high: bool = False, ranks: Sequence[int] = (50, 90, 99)
) -> dict[str, float]:
    """p50, p90, p99 (`ranks`) and the worst value: so many of a hundred are at least as good (nearest rank)."""
    ranked = sorted(values, reverse=best_is_high)
    if not ranked:
        return {}
    last = len(ranked) - 1
    found = {f"p{n}": ranked[min(last, -(-n * len(ranked) // 100) - 1)] for n in ranks}
    return {**found, "worst": ranked[-1]}


def summarise(run: Run) -> dict[str, Any]:
    """Reduce a run to figures, ready for JSON; in milliseconds where the name says so, else in seconds."""
    good = [(o.answer, o.heard) for o in run.outcomes if o.answer and o.heard and not o.error]
    audio = sum(heard.audio for _, heard in good)
    first_bytes = [answer.arrivals[0].seconds for answer, _ in good]
    health = statistics.median(run.health_idle) if run.health_idle else float("nan")
    return {
        "requests": len(run.outcomes),
        "errors": dict(Counter(o.error for o in run.outcomes if o.error)),
        "wall": run.wall,
        "audio": audio,
        "audio_per_second": audio / run.wall if run.wall else 0.0,
        "first_byte_ms": percentiles([1e3 * seconds for seconds in first_bytes]),
        "first_audio_ms": percentiles([1e3 * heard.first_audio for _, heard in good]),
        "total_ms": percentiles([1e3 * answer.seconds for answer, _ in good]),
        "real_time_factor": percentiles([h.audio / a.seconds for a, h in good], best_is_high=True),
        "underruns": {
            "streams": sum(heard.underruns > 0 for _, heard in good),
            "count": sum(heard.underruns for _, heard in good),
            "silence": sum(heard.silence for _, heard in good),
        },
        "silence_ms": percentiles([1e3 * heard.silence for _, heard in good]),
        "health_idle_ms": percentiles([1e3 * seconds for seconds in run.health_idle]),
        "health_loaded_ms": percentiles([1e3 * seconds for seconds in run.health_loaded]),
        "first_byte_per_health": statistics.median(first_bytes) / health if first_bytes else None,
        "driver": {
            "cpu_share": run.driver_cpu / run.wall if run.wall else 0.0,
            "lag_ms": percentiles([1e3 * seconds for seconds in run.lag]),
        },
        "server": run.server,
    }


def per_request(outcome: Outcome) -> dict[str, Any]:
    """One request for the JSON file."""
    answer, heard = outcome.answer, outcome.heard
    return {
        "characters": len(outcome.text),
        "status": answer.status if answer else None,
        "first_byte": answer.arrivals[0].seconds if answer and answer.arrivals else None,
        "total": answer.seconds if answer else None,
        "bytes": answer.arrivals[-1].size if answer and answer.arrivals else 0,
        **(asdict(heard) if heard else {}),
        "error": outcome.error,
        "detail": outcome.detail,
    }


ROWS = (
    ("first byte", "ms", "first_byte_ms"),
    ("first audio", "ms", "first_audio_ms"),
    ("whole request", "ms", "total_ms"),
    ("real-time factor", "×", "real_time_factor"),
    ("silence in playback", "ms", "silence_ms"),
    ("health, idle", "ms", "health_idle_ms"),
    ("health, under load", "ms", "health_loaded_ms"),
)
COLUMNS = ("p50", "p90", "p99", "worst")


def table(summary: dict[str, Any]) -> str:
    """Lay the figures out for a terminal."""
    lines = ["".join([" " * 26, *(f"{column:>11}" for column in COLUMNS)])]
    for title, unit, key in ROWS:
        cells = (f"{summary[key][column]:11.1f}" if summary[key] else f"{'–':>11}" for column in COLUMNS)
        lines.append(f"{title:<22}{unit:>4}" + "".join(cells))
    gaps, driver, server = summary["underruns"], summary["driver"], summary["server"]
    total = summary["audio_per_second"]
    lag = driver["lag_ms"].get("worst", float("nan"))
    lines += [
        "",
        f"audio       {summary['audio']:.1f} s in {summary['wall']:.2f} s: {total:.1f} × real time in all",
        f"underruns   {gaps['count']} in {gaps['streams']} streams, {gaps['silence']:.2f} s of silence",
    ]
    if summary["first_byte_per_health"] is not None:
        lines.append(
            f"ratio       first byte = {summary['first_byte_per_health']:.1f} × an idle health round trip"
        )
    lines.append(
        f"driver      {driver['cpu_share']:.0%} of a processor, event loop late by at most {lag:.1f} ms"
    )
    if server:
        lines.append(
            f"server      up after {server['start']:.2f} s with {server['resident_mib_at_start']:.0f} MiB; "
            f"{server['resident_mib_peak']:.0f} MiB at its peak, {server['cpu_share']:.0%} of a processor"
        )
    return "\n".join(lines)
