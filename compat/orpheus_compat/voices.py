"""OpenAI's routes for voices of one's own: consents, and voices made of a recording."""

from typing import Annotated, Any

from litestar import Controller, HttpMethod, Request, delete, get, post, route
from litestar.di import NamedDependency
from litestar.params import PathParameter, QueryParameter
from litestar.response.base import ASGIResponse

from orpheus_compat import openapi
from orpheus_compat.schemas import (
    ConsentDeleted,
    ConsentList,
    ConsentObject,
    CustomVoice,
    UpdateConsent,
    VoiceDeleted,
)
from orpheus_openai.errors import InvalidRequestError
from orpheus_openai.fields import from_json
from orpheus_openai.http.body import read_body
from orpheus_openai.http.caller import caller_of, name_voice
from orpheus_openai.http.form import read_form
from orpheus_openai.speech.service import SpeechService
from orpheus_openai.voices.consents import Consent

AnyRequest = Request[Any, Any, Any]

MOST_LISTED = 100
ConsentId = Annotated[str, PathParameter(description="The consent's id.")]


class ConsentController(Controller):
    """/v1/audio/voice_consents."""

    path = "/audio/voice_consents"
    tags = ("OpenAI",)

    @route("/", http_method=HttpMethod.OPTIONS, include_in_schema=False, sync_to_thread=False)
    def allow(self) -> ASGIResponse:
        """Tell which methods there are; without this Litestar would tell those of one route alone."""
        return ASGIResponse(status_code=204, headers={"allow": "GET, OPTIONS, POST"})

    @route("/{consent:str}", http_method=HttpMethod.OPTIONS, include_in_schema=False, sync_to_thread=False)
    def allow_for_one(self, consent: ConsentId) -> ASGIResponse:  # noqa: ARG002
        """Tell which methods there are; without this Litestar would tell those of one route alone."""
        return ASGIResponse(status_code=204, headers={"allow": "DELETE, GET, OPTIONS, POST"})

    @post(
        "/",
        status_code=200,
        operation_id="createVoiceConsent",
        summary="Upload a voice consent",
        response_description="The consent.",
        operation_class=openapi.CreateConsentOperation,
    )
    async def create(self, request: AnyRequest, service: NamedDependency[SpeechService]) -> ConsentObject:
        """Keep a recording in which somebody says that a voice may be made of theirs."""
        form = await read_form(request)
        fields = {name: form.field(name) for name in ("name", "language")}
        recording = form.file("recording")
        caller = caller_of(request.scope)
        await service.gate.charge(caller.account)
        return _shown(await service.keeper.add_consent(caller, recording=recording, **fields))

    @get(
        "/",
        operation_id="listVoiceConsents",
        summary="List voice consents",
        response_description="The consents of the caller.",
        operation_class=openapi.ListConsentsOperation,
    )
    async def list_consents(
        self,
        request: AnyRequest,
        service: NamedDependency[SpeechService],
        after: Annotated[
            str | None, QueryParameter(description="The id of the last one that is known.")
        ] = None,
        limit: Annotated[
            int,
            QueryParameter(
                description="How many at most, 1 to 100.", schema_extra={"minimum": 1, "maximum": 100}
            ),
        ] = 20,
    ) -> ConsentList:
        """List the caller's consents, the newest first."""
        if not 1 <= limit <= MOST_LISTED:
            raise InvalidRequestError(
                f"Invalid value for 'limit': expected 1 to {MOST_LISTED}.",
                param="limit",
                code="invalid_value",
            )
        keeper, caller = service.keeper, caller_of(request.scope)
        consents = await (keeper.consents_after(caller, after) if after else keeper.consents(caller))
        page = [_shown(each) for each in consents[:limit]]
        return ConsentList(
            data=page,
            first_id=page[0].id if page else None,
            last_id=page[-1].id if page else None,
            has_more=len(consents) > limit,
        )

    @get(
        "/{consent:str}",
        operation_id="getVoiceConsent",
        summary="Retrieve a voice consent",
        response_description="The consent.",
        operation_class=openapi.ConsentOperation,
    )
    async def retrieve(
        self, request: AnyRequest, consent: ConsentId, service: NamedDependency[SpeechService]
    ) -> ConsentObject:
        """Find a consent by its id."""
        return _shown(await service.keeper.consent(caller_of(request.scope), consent))

    @post(
        "/{consent:str}",
        status_code=200,
        operation_id="updateVoiceConsent",
        summary="Rename a voice consent",
        response_description="The consent.",
        operation_class=openapi.UpdateConsentOperation,
    )
    async def update(
        self, request: AnyRequest, consent: ConsentId, service: NamedDependency[SpeechService]
    ) -> ConsentObject:
        """Call a consent otherwise."""
        body = from_json(await read_body(request.receive), UpdateConsent)
        return _shown(await service.keeper.rename_consent(caller_of(request.scope), consent, body.name))

    @delete(
        "/{consent:str}",
        status_code=200,
        operation_id="deleteVoiceConsent",
        summary="Delete a voice consent",
        response_description="What was deleted.",
        operation_class=openapi.ConsentOperation,
    )
    async def delete(
        self, request: AnyRequest, consent: ConsentId, service: NamedDependency[SpeechService]
    ) -> ConsentDeleted:
        """Delete a consent. Voices that were made with it stay."""
        await service.keeper.remove_consent(caller_of(request.scope), consent)
        return ConsentDeleted(id=consent)


class CustomVoiceController(Controller):
    """POST and DELETE /v1/audio/voices."""

    path = "/audio/voices"
    tags = ("OpenAI",)

    @post(
        "/",
        status_code=200,
        operation_id="createVoice",
        summary="Make a voice of a recording",
        response_description="The voice.",
        operation_class=openapi.CreateVoiceOperation,
    )
    async def create(self, request: AnyRequest, service: NamedDependency[SpeechService]) -> CustomVoice:
        """Make a voice of a recording of 3 to 30 seconds and what is said in it, `ref_text`, an addition of ours.

        It is the caller's alone, and spoken by the pretrained checkpoint: send its id as `voice` with one of OpenAI's
        model names. Without the consent of the speaker there is no voice, unless the server's owner has said so.
        """
        form = await read_form(request)
        if (form.optional("type") or "audio_sample") != "audio_sample":
            raise InvalidRequestError(
                "Voices are made of recordings here, not of descriptions: send 'audio_sample' and 'ref_text'.",
                param="type",
                code="invalid_value",
            )
        name, recording = form.field("name"), form.file("audio_sample")
        if not (transcript := (form.optional("ref_text") or "").strip()):
            raise InvalidRequestError(
                "Missing required field 'ref_text': what is said in the recording, word for word. Orpheus needs it to "
                "go on in its voice; OpenAI's API does not know the field, so send it beside the others "
                "(extra_body={'ref_text': …} with the SDK).",
                param="ref_text",
                code="missing_required_parameter",
            )
        caller = caller_of(request.scope)
        await service.gate.charge(caller.account)
        voice = await service.keeper.add_recorded(
            caller,
            name=name,
            recording=recording,
            transcript=transcript,
            consent=form.optional("consent"),
            language=form.optional("language"),
        )
        name_voice(request.scope, voice.id)
        return CustomVoice(id=voice.id, name=voice.title, created_at=voice.created)

    @delete(
        "/{voice_id:str}",
        status_code=200,
        operation_id="deleteVoice",
        summary="Delete a voice",
        response_description="What was deleted.",
        operation_class=openapi.DeleteVoiceOperation,
    )
    async def delete(
        self,
        request: AnyRequest,
        voice_id: Annotated[str, PathParameter(description="The voice's id.")],
        service: NamedDependency[SpeechService],
    ) -> VoiceDeleted:
        """Delete a voice and its recording. What is being spoken with it is spoken to its end."""
        voice = await service.keeper.remove(caller_of(request.scope), voice_id)
        name_voice(request.scope, voice.id)
        return VoiceDeleted(id=voice.id)


def _shown(consent: Consent) -> ConsentObject:
    return ConsentObject(
        id=consent.id, name=consent.name, language=consent.language, created_at=consent.created
    )
