"""/api/models/{model}/download: a model's GGUF file comes to this machine, as by `orpheus-openai pull`."""

import ipaddress
from typing import Annotated, Any

import msgspec
from litestar import Controller, HttpMethod, Request, delete, get, post, route
from litestar.di import NamedDependency
from litestar.openapi.spec import Example
from litestar.params import PathParameter, QueryParameter
from litestar.response.base import ASGIResponse
from msgspec import Meta

from orpheus_openai.errors import AdminOnlyError, NotFoundError
from orpheus_openai.fields import from_json
from orpheus_openai.http.body import read_body
from orpheus_openai.http.caller import caller_of
from orpheus_openai.http.openapi import operation, schema
from orpheus_openai.models.downloads import Download, DownloadOffer
from orpheus_openai.speech.service import SpeechService

FORWARDED = frozenset({b"x-forwarded-for", b"forwarded", b"x-real-ip"})
"""Headers by which a proxy tells that a request is somebody else's."""

Quantisation = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_]{1,24}$", description="E.g. q4_k_m or q8_0.")]

_PROBLEMS = {
    "400": "No file of that model is known, or a field is wrong.",
    "403": "It is for an admin's key, or where there are no keys for whoever is at this machine; or the request came "
    "from a web page of another site.",
    "404": "There is no such model, what it takes to speak with the file is not installed, or no mirror has it.",
    "503": "The hub cannot be reached.",
}


class DownloadRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The body that starts a download; `{}` takes the usual quantisation."""

    quantisation: Annotated[Quantisation | None, Meta(description="null: q4_k_m.", examples=["q4_k_m"])] = (
        None
    )


ModelName = Annotated[str, PathParameter(description="A model's id or alias.")]


class DownloadController(Controller):
    """One file at a time."""

    path = "/models/{model:str}/download"
    tags = ("Models",)

    @route(http_method=HttpMethod.OPTIONS, include_in_schema=False, sync_to_thread=False)
    def allow(self, model: ModelName) -> ASGIResponse:  # noqa: ARG002  the same for every model
        """Tell what can be done with a download.

        Litestar's own answer would be that of the first handler alone; this one has to come before it, by its name.
        """
        return ASGIResponse(status_code=204, headers={"allow": "DELETE, GET, OPTIONS, POST"})

    @get(
        operation_id="offerDownload",
        summary="What a model's file would take",
        response_description="The file, and the room there is for it.",
        operation_class=operation(problems=_PROBLEMS),
    )
    async def offer(
        self,
        request: Request[Any, Any, Any],
        model: ModelName,
        service: NamedDependency[SpeechService],
        quantisation: Annotated[
            str | None,
            QueryParameter(description="q4_k_m where it is not given.", pattern=r"^[A-Za-z0-9_]{1,24}$"),
        ] = None,
    ) -> DownloadOffer:
        """Ask the mirrors, in their order, for the GGUF file of a model; nothing is downloaded."""
        require_right(request)
        wanted = service.offer.resolve(model)
        service.factory.require_use_of_download(wanted)
        return await service.downloads.offer(wanted, quantisation)

    @post(
        status_code=202,
        operation_id="startDownload",
        summary="Download a model's file",
        response_description="It has begun.",
        operation_class=operation(
            body=schema(DownloadRequest, {"usual": Example(summary="The usual quantisation", value={})}),
            body_required=False,
            problems={**_PROBLEMS, "409": "A model is being downloaded; one comes at a time."},
        ),
    )
    async def start(
        self, request: Request[Any, Any, Any], model: ModelName, service: NamedDependency[SpeechService]
    ) -> Download:
        """Begin to download the file, as `orpheus-openai pull` does: checked, and what broke off is taken up again.

        The event `model.download` tells how far it is, and `/api/status` (`downloads`). Where nothing else is set, the
        server speaks with it as soon as it is here; else `message` says what to set. No setting is written.
        """
        require_right(request)
        wanted = service.offer.resolve(model)
        service.factory.require_use_of_download(wanted)
        body = from_json(await read_body(request.receive) or b"{}", DownloadRequest)
        return await service.downloads.start(
            wanted, body.quantisation, lambda name: service.factory.after_download(wanted, name)
        )

    @delete(
        status_code=200,
        operation_id="cancelDownload",
        summary="Break off a download",
        response_description="How it stands now.",
        operation_class=operation(problems=_PROBLEMS),
    )
    async def cancel(
        self, request: Request[Any, Any, Any], model: ModelName, service: NamedDependency[SpeechService]
    ) -> Download:
        """Break off the download of that model; what has come is kept, and taken up by the next."""
        require_right(request)
        wanted = service.offer.resolve(model)
        if (download := await service.downloads.cancel(wanted)) is None:
            raise NotFoundError(f"No file of {wanted.id} has been downloaded since the start.", param="model")
        return download


def require_right(request: Request[Any, Any, Any]) -> None:
    """Raise AdminOnlyError unless it is an admin's key, or where there are no keys somebody at this machine."""
    caller = caller_of(request.scope)
    if caller.key is not None or not caller.admin:
        caller.require_admin("Downloading a model")
        return
    forwarded = any(name in FORWARDED for name, _ in request.scope["headers"])
    try:
        is_here = ipaddress.ip_address(caller.address.partition("%")[0]).is_loopback
    except ValueError:
        is_here = False
    if forwarded or not is_here:
        raise AdminOnlyError(
            "Downloading a model fills this server's disk, and without keys is for whoever is at its machine "
            "(http://localhost). From elsewhere it takes the key of an admin: name:key:admin in ORPHEUS_API_KEYS."
        )
