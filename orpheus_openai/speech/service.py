"""Where every door asks for speech: a request is checked, its text cut, and whoever speaks it chosen."""

import time
from collections.abc import AsyncGenerator, Callable
from typing import Self

import msgspec

from orpheus_openai.audio import PCM
from orpheus_openai.catalog import Catalog, EspeakVoice, Model, Voice, load_catalog
from orpheus_openai.errors import InvalidRequestError
from orpheus_openai.events import EventHub
from orpheus_openai.gpu.manager import OFFLOAD_SECONDS, GPUManager, Offloaded, Residency
from orpheus_openai.limits.caller import ANONYMOUS
from orpheus_openai.limits.gate import Gate
from orpheus_openai.limits.keys import read_keys
from orpheus_openai.models.downloads import Downloads
from orpheus_openai.models.factory import ModelFactory
from orpheus_openai.models.orpheus.adapters import adapter_at_hand
from orpheus_openai.models.preview.model import stand_in
from orpheus_openai.models.preview.reading import Reader
from orpheus_openai.settings import Settings
from orpheus_openai.speech.casting import Casting
from orpheus_openai.speech.feed import TextFeed
from orpheus_openai.speech.heard import Heard, RecentSound
from orpheus_openai.speech.interruption import Playing
from orpheus_openai.speech.offer import Offer
from orpheus_openai.speech.plan import Plan, Planner
from orpheus_openai.speech.readings import Readings
from orpheus_openai.speech.request import SpeechRequest
from orpheus_openai.speech.script import Script
from orpheus_openai.speech.scripts import Scripts
from orpheus_openai.speech.seen import Seen
from orpheus_openai.speech.speech import Speech
from orpheus_openai.speech.takes import Takes
from orpheus_openai.speech.timer import Timer
from orpheus_openai.speech.verification import Ears, Verification, may_be_drawn_again
from orpheus_openai.speech.words import WordTimes
from orpheus_openai.synthesis import Sampling
from orpheus_openai.text.changes import Ledger
from orpheus_openai.text.turns import Manner
from orpheus_openai.text.warnings import Warned
from orpheus_openai.voices import VoiceFolder, VoiceKeeper, VoiceShelf


class SpeechService:
    """Takes requests from every door."""

    def __init__(
        self,
        catalog: Catalog,
        manager: GPUManager,
        factory: ModelFactory,
        events: EventHub,
        gate: Gate,
        *,
        settings: Settings,
    ) -> None:
        admins = frozenset(key.account for key in read_keys(settings.api_keys) if key.admin)
        self.voices = VoiceShelf(VoiceFolder(settings.voices, adapter_at_hand), catalog, admins)
        self.keeper = VoiceKeeper(self.voices, catalog, settings)
        self.takes = Takes(settings.takes_max_bytes)
        self.playing = Playing()
        self.gate = gate
        self.catalog = catalog
        self.events = events
        self.manager = manager
        self.factory = factory
        self.seen = Seen(events, manager)
        self.downloads = Downloads(events)
        self.offer = Offer(catalog, factory, manager)
        self._settings = settings
        self._planner = Planner()
        self._scripts = Scripts(catalog, settings)
        self._reader = Reader(catalog.emotion_tags)
        self._recent = RecentSound()
        self._ears = Ears()

    @classmethod
    def create(cls, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> Self:
        """The whole core, without any door; nothing is loaded yet. `clock` is what idle times are counted by.

        Raises ConfigurationError when a setting or the user's catalog makes no sense.
        """
        catalog = load_catalog(settings.catalog)
        factory = ModelFactory(settings, catalog)
        events = EventHub()
        rules = Residency(
            mode=settings.mode,
            pinned=frozenset(settings.pinned),
            idle_timeout=settings.gpu_idle_timeout,
            unload_timeout=settings.unload_timeout,
            load_wait=settings.load_wait,
        )
        manager = GPUManager(factory, events, rules, clock=clock)
        gate = Gate.create(settings)
        events.observe("model.state", lambda _: gate.follow(manager.streams))
        return cls(catalog, manager, factory, events, gate, settings=settings)

    def prepare(
        self,
        request: SpeechRequest,
        *,
        account: str = ANONYMOUS,
        request_id: str | None = None,
        feed: TextFeed | None = None,
    ) -> Speech:
        """Check a request and choose who speaks it; nothing is loaded yet.

        `account` is whose share it counts against (see `limits.caller`); `request_id` names the speech in events and
        logs, and without one it gets a name of its own. With `feed` the text is what is written to it, while the speech
        is streamed, and the request's own counts for nothing.

        Raises InvalidRequestError or NotFoundError with the field's name, ModelUnavailableError when the model
        cannot speak on this machine, OverloadedError when the queue is full.
        """
        self.gate.queue.require_room(account)  # in a rush to refuse must cost next to nothing
        self._require_length(request)
        catalog = self.voices.catalog(account)
        voice, model = self._speaking(request, catalog)
        self.factory.require_voice(model, voice)
        if feed is None:
            _require_words(request)
        casting = self._scripts.casting(request, catalog, model, voice, account)

        sampling = msgspec.structs.replace(self.factory.sampling(model), **request.sampling)
        verifies = self._settings.verify != "off" and not model.is_preview
        readings = self._readings(model, casting, users=request.word_times + verifies)
        times = None
        if request.word_times:
            times = WordTimes(Timer(readings, speed=request.speed, is_preview=model.is_preview), request.text)
        cutter = Timer(
            self._readings(model, casting, users=1), speed=request.speed, is_preview=model.is_preview
        )
        warnings = list[Warned]()
        return Speech(
            self.manager,
            self.events,
            self.gate,
            request,
            request_id=request_id,
            account=account,
            model=model,
            voice=voice,
            casting=casting,
            sampling=sampling,
            script=self._scripts.script(request, model, casting, warnings, feed),
            warnings=warnings,
            heard=Heard(cutter, self._recent),
            buffer=self._settings.buffer,
            word_times=times,
            verification=self._verification(readings, sampling),
            playing=self.playing,
        )

    def check(self, request: SpeechRequest, *, account: str = ANONYMOUS) -> None:
        """Raise what `prepare` would for all but the text, without asking for anything."""
        catalog = self.voices.catalog(account)
        voice, model = self._speaking(request, catalog)
        self.factory.require_voice(model, voice)
        self._scripts.casting(request, catalog, model, voice, account)

    async def plan(self, request: SpeechRequest, *, account: str = ANONYMOUS) -> Plan:
        """What `request` would say, and what of its text is changed; it needs no model that can speak here.

        Raises as `prepare` does for what is wrong with the request, RateLimitError and OverloadedError.
        """
        self._require_length(request)
        catalog = self.voices.catalog(account)
        voice, model = self._speaking(request, catalog)
        _require_words(request)
        await self.gate.charge(account)
        casting, ledger = self._scripts.casting(request, catalog, model, voice, account), Ledger()
        script = Script(
            request.text,
            self._scripts.segments(request, model, casting, ledger.warnings, ledger),
            in_thread=True,
        )
        return await self._planner.plan(request.text, model.id, script, casting, ledger, account=account)

    def _readings(self, model: Model, casting: Casting, *, users: int) -> Readings:
        def read_by(manner: Manner) -> EspeakVoice:
            return stand_in(casting.voice(manner))

        def in_parts(manner: Manner) -> str | None:
            return casting.voice(manner).language if model.is_preview else None

        return Readings(self._reader, read_by, self.catalog.emotion_tags, users=users, in_parts=in_parts)

    def _verification(self, readings: Readings, sampling: Sampling) -> Verification | None:
        verify = self._settings.verify
        if verify == "off":
            return None
        retry = verify == "retry" and may_be_drawn_again(sampling)
        words = self._settings.verify_words
        return Verification(
            readings,
            retry=retry,
            ears=None if words == "off" else self._ears,
            retry_words=words == "retry",
        )

    def _require_length(self, request: SpeechRequest) -> None:
        if len(request.text) > (most := self._settings.max_input_chars):
            raise InvalidRequestError(
                f"The text has {len(request.text)} characters; at most {most} are spoken in one "
                "request. Send it in parts.",
                param="input",
                code="string_above_max_length",
            )

    def _speaking(self, request: SpeechRequest, catalog: Catalog) -> tuple[Voice, Model]:
        voice = catalog.voice(request.voice)
        return voice, catalog.answering(request.model, self.offer.default, voice)

    def stream(self, request: SpeechRequest, *, account: str = ANONYMOUS) -> AsyncGenerator[PCM]:
        """The request as PCM, 24 kHz mono int16; see `prepare` and `Speech.stream` for what can go wrong."""
        return self.prepare(request, account=account).stream()

    async def close(self) -> None:
        """Unload all models and end what reads along."""
        await self.downloads.close()
        await self.manager.close()
        await self._reader.close()

    async def offload(
        self, model: str | None = None, *, force: bool = False, wait: float = OFFLOAD_SECONDS
    ) -> Offloaded:
        """Unload the model of that name, or all; see `GPUManager.force_offload`.

        Raises NotFoundError where there is no such model.
        """
        name = None if model is None else self.offer.resolve(model).id
        return await self.manager.force_offload(name, force=force, wait=wait)


def _require_words(request: SpeechRequest) -> None:
    if not request.text or request.text.isspace():
        raise InvalidRequestError("There is nothing to speak in the text.", param="input", code="empty_input")
