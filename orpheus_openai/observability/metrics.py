"""What an operator watches: times, counts and states of one server, as Prometheus reads them."""

import asyncio
from collections.abc import Iterator, Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder

from orpheus_openai import __version__
from orpheus_openai.events import Event
from orpheus_openai.gpu.device import GPUSample
from orpheus_openai.gpu.monitor import GPUMonitor
from orpheus_openai.gpu.slot import ModelState
from orpheus_openai.speech.service import SpeechService

FIRST_AUDIO_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10, 30, 60, 120)
QUEUE_BUCKETS = (0.001, 0.01, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60)
LOAD_BUCKETS = (0.1, 0.5, 1, 2, 5, 10, 20, 30, 45, 60, 90, 120, 300, 600)
WAKE_BUCKETS = (0.05, 0.1, 0.25, 0.5, 0.75, 1, 2, 5, 10, 30)
"""Seconds; finest where the value ought to lie."""

REAL_TIME_BUCKETS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.25, 1.5, 2, 5)
"""Seconds of work for a second of audio: below 1 nobody waits."""

CLIENT_GONE = 499
"""The status of a request whose client left before its answer began, as proxies log it."""


# A second series beside every counter, which the text format cannot tell from a gauge.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """One server's; it counts what the service tells, and takes stock of the rest when it is read."""

    def __init__(self, service: SpeechService, monitor: GPUMonitor) -> None:
        self._monitor = monitor
        self._stock = _Stock(service)
        self._registry = registry = CollectorRegistry()
        registry.register(self._stock)
        ProcessCollector(registry=registry)

        def histogram(name: str, help_text: str, buckets: Sequence[float]) -> Histogram:
            return Histogram(name, help_text, ["model"], buckets=buckets, registry=registry)

        def counter(name: str, help_text: str, *labels: str) -> Counter:
            return Counter(name, help_text, labels, registry=registry)

        self._first_audio = histogram(
            "orpheus_time_to_first_audio_seconds",
            "From the request for speech to its first sound, waiting for turn and model included.",
            FIRST_AUDIO_BUCKETS,
        )
        self._queue = histogram(
            "orpheus_queue_seconds", "How long speech that was begun had waited for its turn.", QUEUE_BUCKETS
        )
        self._real_time = histogram(
            "orpheus_real_time_factor",
            "Seconds of work for a second of audio, of speech that was completed.",
            REAL_TIME_BUCKETS,
        )
        self._load = histogram(
            "orpheus_model_load_seconds", "How long a model took to load, making room included.", LOAD_BUCKETS
        )
        self._wake = histogram(
            "orpheus_model_wake_seconds", "How long a sleeping model took to be ready.", WAKE_BUCKETS
        )
        self._underruns = counter(
            "orpheus_underruns", "Times a listener who plays at once fell silent in mid-speech.", "model"
        )
        self._speeches = counter(
            "orpheus_speeches",
            "Speeches that ended: completed, cancelled by the listener, failed.",
            "model",
            "outcome",
        )
        self._audio = counter("orpheus_audio_seconds", "Seconds of audio that were spoken.", "model")
        self._tokens = counter(
            "orpheus_tokens", "Tokens of prompts (input) and of speech (output).", "model", "kind"
        )
        self._dropped = counter(
            "orpheus_frames_dropped", "Frames of 85 ms lost to misplaced tokens.", "model"
        )
        self._segments = counter(
            "orpheus_segments",
            "Segments that were looked at: ok, retried, cut, or suspect and why.",
            "model",
            "verdict",
        )
        self._requests = counter("orpheus_requests", "HTTP requests by door and status.", "door", "status")
        self._errors = counter("orpheus_errors", "Requests and speeches that failed, by kind.", "kind")
        for kind, observer in {
            "speech.queued": self._speech_queued,
            "speech.started": self._speech_started,
            "speech.underrun": self._speech_underran,
            "speech.verified": self._segment_verified,
            "speech.ended": self._speech_ended,
            "model.state": self._model_changed,
        }.items():
            service.events.observe(kind, observer)

    def count_request(self, door: str, status: int, error: str | None) -> None:
        """One request more, answered with `status`, 0 for none; `error` is the kind of an error not yet told of."""
        self._requests.labels(door, str(status or CLIENT_GONE)).inc()
        if error is not None:
            self._errors.labels(error).inc()

    async def exposition(self, accept: str) -> tuple[bytes, str]:
        """Everything now, in the format that the Accept header prefers, and that format's media type."""
        self._stock.take(await self._monitor.sample())
        encode, media_type = choose_encoder(accept)
        return await asyncio.to_thread(encode, self._registry), media_type  # a millisecond for each model

    def _speech_queued(self, event: Event) -> None:
        # A series that begins with its first event hides that event from rate().
        self._underruns.labels(event.data["model"])
        self._dropped.labels(event.data["model"])

    def _speech_started(self, event: Event) -> None:
        model = event.data["model"]
        self._first_audio.labels(model).observe(event.data["first_audio_seconds"])
        self._queue.labels(model).observe(event.data["queue_seconds"])

    def _speech_underran(self, event: Event) -> None:
        self._underruns.labels(event.data["model"]).inc()

    def _segment_verified(self, event: Event) -> None:
        self._segments.labels(event.data["model"], event.data["verdict"]).inc()

    def _speech_ended(self, event: Event) -> None:
        data = event.data
        model, error = data["model"], data["error"]
        outcome = data["outcome"] if error is None else "failed"
        self._speeches.labels(model, outcome).inc()
        self._audio.labels(model).inc(data["audio_seconds"])
        self._tokens.labels(model, "input").inc(data["input_tokens"])
        self._tokens.labels(model, "output").inc(data["output_tokens"])
        self._dropped.labels(model).inc(data["dropped_frames"])
        if error is not None:
            self._errors.labels(error).inc()
        elif outcome == "completed" and data["real_time_factor"] is not None:  # a silence is nobody's work
            self._real_time.labels(model).observe(data["real_time_factor"])

    def _model_changed(self, event: Event) -> None:
        if event.data["state"] == ModelState.READY:
            times = self._wake if event.data["woken"] else self._load
            times.labels(event.data["model"]).observe(event.data["load_seconds"])


class _Stock:
    """What is true at the moment of reading: a collector in the library's sense."""

    def __init__(self, service: SpeechService) -> None:
        self._service = service
        self._taken: list[Metric] = []

    def take(self, sample: GPUSample) -> None:
        """Look at everything; on the event loop, where the service lives."""
        self._taken = [*self._lines(), self._states(), *_memory(sample)]

    def collect(self) -> list[Metric]:
        """What was seen last; from any thread."""
        return self._taken

    def _lines(self) -> Iterator[Metric]:
        build = GaugeMetricFamily("orpheus_build_info", "The server's version.", labels=["version"])
        build.add_metric([__version__], 1)
        yield build
        line = self._service.gate.queue
        yield GaugeMetricFamily(
            "orpheus_streams_active", "Requests that are being spoken, or whose model loads.", line.running
        )
        yield GaugeMetricFamily("orpheus_streams_queued", "Requests that wait for their turn.", line.waiting)

    def _states(self) -> Metric:
        states = GaugeMetricFamily(
            "orpheus_model_state",
            "1 for the state a model is in, 0 for the others.",
            labels=["model", "state"],
        )
        for model in self._service.manager.get_status():
            for state in ModelState:
                states.add_metric([model.id, state.value], float(model.state is state))
        return states


def _memory(sample: GPUSample) -> Iterator[Metric]:
    used = GaugeMetricFamily(
        "orpheus_gpu_memory_used_bytes", "Memory of the card in use, by any program.", labels=["gpu"]
    )
    total = GaugeMetricFamily("orpheus_gpu_memory_total_bytes", "Memory of the card.", labels=["gpu"])
    for gpu in sample.gpus:
        if gpu.memory_used is not None and gpu.memory_total is not None:
            used.add_metric([str(gpu.index)], gpu.memory_used)
            total.add_metric([str(gpu.index)], gpu.memory_total)
    yield used
    yield total
