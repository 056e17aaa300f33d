"""Voices and consents on behalf of those who add, list and remove them: rights, quotas and what is needed."""

import asyncio
import contextlib
import logging
import re
import secrets
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from orpheus_openai.audio import PCM
from orpheus_openai.catalog import Catalog, OwnVoice
from orpheus_openai.errors import InvalidRequestError, NotFoundError
from orpheus_openai.limits.caller import Caller
from orpheus_openai.settings import Settings
from orpheus_openai.voices.consents import Consent, ConsentFolder, consent_order, order_of
from orpheus_openai.voices.form import LONGEST_NAME, MADE_ID, MODELS, RECORDING, VoiceError, VoiceFile
from orpheus_openai.voices.recordings import SHORTEST_CONSENT, Recorder, judge, trimmed, write_wav
from orpheus_openai.voices.shelf import VoiceShelf

FIELDS = {"transcript": "ref_text", "recording": "audio_sample"}
"""What a form calls a part of a description; the others have one name in both."""
LANGUAGE_TAG = re.compile(r"(?=.{2,35}$)[A-Za-z]{2,8}(?:[-_][A-Za-z0-9]{1,8})*")
"""BCP 47 as far as it goes for what a voice speaks; 35 characters, as https://www.rfc-editor.org/rfc/rfc5646 has it."""

logger = logging.getLogger(__name__)


class VoiceKeeper:
    """What callers may do with voices. The shelf knows what there is; this changes it, one change at a time."""

    def __init__(self, shelf: VoiceShelf, catalog: Catalog, settings: Settings) -> None:
        self._shelf = shelf
        self._catalog = catalog
        self._consents = ConsentFolder(settings.voices)
        self._consent_required = settings.voice_consent == "required"
        self._most = settings.max_voices_per_key
        self._recorder = Recorder()
        self._changing = asyncio.Lock()
        self._warned = False

    async def add_consent(self, caller: Caller, *, name: str, language: str, recording: bytes) -> Consent:
        """Keep a recording in which somebody consents; raises InvalidRequestError for what cannot be one."""
        name = _name(name)
        language = self._language(language)[1]
        await self._require_consent_room(caller)
        pcm = await self._recorder.decode(recording, "recording", caller.account)
        judge(pcm, "recording", shortest=SHORTEST_CONSENT)
        async with self._changing:
            await self._require_consent_room(caller)
            put = partial(_put_recording, pcm=pcm)
            return await asyncio.to_thread(self._consents.add, name, language, caller.owner or "", put)

    async def consents(self, caller: Caller) -> list[Consent]:
        """Those that are there for `caller`, the newest first."""
        found = await asyncio.to_thread(self._consents.read)
        return [consent for consent in found if caller.may_see(consent.owner or None)]

    async def consents_after(self, caller: Caller, cursor: str) -> list[Consent]:
        """Those that come after the one of that id, which may have been removed meanwhile.

        Raises InvalidRequestError for what is no id of a consent.
        """
        found = await self.consents(caller)
        place = next((consent_order(each) for each in found if each.id == cursor), None) or order_of(cursor)
        if place is None:
            raise InvalidRequestError(
                f"There is no voice consent {cursor[:64]!r} after which to go on.",
                param="after",
                code="consent_not_found",
            )
        return [each for each in found if consent_order(each) > place]

    async def consent(self, caller: Caller, consent_id: str) -> Consent:
        """The consent of that id; raises NotFoundError where there is none for `caller`."""
        found = next((each for each in await self.consents(caller) if each.id == consent_id), None)
        if found is None:
            raise NotFoundError(
                f"There is no voice consent {consent_id[:64]!r}.", param="consent", code="consent_not_found"
            )
        return found

    async def rename_consent(self, caller: Caller, consent_id: str, name: str) -> Consent:
        """Call it otherwise; raises as `consent` does."""
        async with self._changing:
            consent = await self.consent(caller, consent_id)
            return await asyncio.to_thread(self._consents.rename, consent, _name(name))

    async def remove_consent(self, caller: Caller, consent_id: str) -> None:
        """Remove it, which the voices that were made with it outlive; raises as `consent` does."""
        async with self._changing:
            consent = await self.consent(caller, consent_id)
            await asyncio.to_thread(self._consents.remove, consent)

    async def add_recorded(
        self,
        caller: Caller,
        *,
        name: str,
        recording: bytes,
        transcript: str,
        consent: str | None,
        language: str | None = None,
    ) -> OwnVoice:
        """Make a voice of a recording in which `transcript` is said; needs no model.

        Raises InvalidRequestError with the field's name for what cannot be a voice, or without its speaker's consent.
        """
        name = _name(name)
        given = await self._consented(caller, consent)
        spoken = self._language(language or (given.language if given else "en"))[0]
        self._require_voice_room(caller)
        file = VoiceFile(
            name=name,
            kind="prompt",
            model=MODELS["prompt"],
            languages=(spoken,),
            recording=RECORDING,
            transcript=" ".join(transcript.split()),
            consent=given.id if given else "",
            owner=caller.owner or "",
            created=int(time.time()),
        )
        voice_id = MADE_ID + secrets.token_hex(12)
        folder = self._shelf.folder
        with _form_fields():
            await asyncio.to_thread(folder.require, voice_id, file, self._catalog)
        pcm = trimmed(await self._recorder.decode(recording, "audio_sample", caller.account))
        judge(pcm, "audio_sample")

        def put(staging: Path) -> None:
            write_wav(staging / RECORDING, pcm)

        async with self._changing:
            self._require_voice_room(caller)
            with _form_fields():
                voice = await asyncio.to_thread(folder.add, voice_id, file, self._catalog, put)
            await self._shelf.refresh()
        return voice

    async def remove(self, caller: Caller, name: str) -> OwnVoice:
        """Remove a voice of the caller's, or for an admin any, by its id; raises NotFoundError where there is none."""
        async with self._changing:
            found = next((voice for voice in self._shelf.voices if voice.id == name.lower()), None)
            if found is None or not may_remove(caller, found):
                raise NotFoundError(
                    f"There is no voice {name[:64]!r} of yours.", param="voice_id", code="voice_not_found"
                )
            await asyncio.to_thread(self._shelf.folder.remove, found.place)
            await self._shelf.refresh()
        return found

    async def _consented(self, caller: Caller, consent: str | None) -> Consent | None:
        if consent:
            return await self.consent(caller, consent)
        if self._consent_required:
            raise InvalidRequestError(
                "A voice made of a recording needs the consent of its speaker: upload it at /v1/audio/voice_consents "
                "and send its id as 'consent'.",
                param="consent",
                code="missing_required_parameter",
            )
        if not self._warned:
            self._warned = True
            logger.warning(
                "ORPHEUS_VOICE_CONSENT=off: voices are made of recordings without their speakers' consent"
            )
        return None

    def _language(self, tag: str) -> tuple[str, str]:
        """The language of the catalog that a BCP 47 tag means, and the tag."""
        tag = tag.strip()
        language = tag.lower().replace("_", "-").partition("-")[0]
        if language not in self._catalog.languages:
            raise InvalidRequestError(
                f"There is no language {tag[:32]!r} here; there are {', '.join(self._catalog.languages)}.",
                param="language",
                code="invalid_value",
            )
        if not LANGUAGE_TAG.fullmatch(tag):
            raise InvalidRequestError(
                f"{tag[:32]!r} is no language's tag; expected one such as en-US.",
                param="language",
                code="invalid_value",
            )
        return language, tag

    async def _require_consent_room(self, caller: Caller) -> None:
        own = [each for each in await self.consents(caller) if each.owner == (caller.owner or "")]
        self._require_room(len(own), "consents")

    def _require_voice_room(self, caller: Caller) -> None:
        """Asked before the recording is read, which takes work, and again when it is to be kept."""
        made = (voice for voice in self._shelf.voices if voice.id.startswith(MADE_ID))
        self._require_room(sum(voice.owner == caller.owner for voice in made), "voices")

    def _require_room(self, count: int, what: str) -> None:
        if count >= self._most:
            raise InvalidRequestError(
                f"There are {count} {what} of yours, as many as this server keeps for one key; remove one first.",
                code="quota_exceeded",
            )


def may_remove(caller: Caller, voice: OwnVoice) -> bool:
    """Whether it is the caller's own, or they are an admin; a voice that is shared is still its owner's."""
    return caller.may_see(voice.owner)


@contextlib.contextmanager
def _form_fields() -> Iterator[None]:
    """What is wrong with a description is wrong with a field of the form."""
    try:
        yield
    except VoiceError as error:
        field, _, words = str(error).partition(": ")
        param = FIELDS.get(field, field)
        raise InvalidRequestError(f"{param}: {words}.", param=param, code="invalid_value") from error


def _put_recording(path: Path, *, pcm: PCM) -> None:
    write_wav(path, pcm)


def _name(name: str) -> str:
    stripped = name.strip()
    if not 0 < len(stripped) <= LONGEST_NAME or not stripped.isprintable():
        raise InvalidRequestError(
            f"'name' must have 1 to {LONGEST_NAME} characters, all of which can be printed.",
            param="name",
            code="invalid_value",
        )
    return stripped
