"""Where every error becomes HTTP, whichever door or middleware raised it: its status, its headers, and its body."""

import http
import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import (
    HTTPException,
    MethodNotAllowedException,
    NotFoundException,
    ValidationException,
)

from orpheus_openai.errors import (
    AuthenticationError,
    InvalidRequestError,
    MethodNotAllowedError,
    NotFoundError,
    RequestTimeoutError,
    SpeechError,
)
from orpheus_openai.http.delivery import ClientGoneError
from orpheus_openai.http.error_body import ErrorBody, ErrorDetail

logger = logging.getLogger(__name__)

AnyRequest = Request[Any, Any, Any]
CLIENT_CLOSED_REQUEST = 499
"""For the log only: nobody reads the answer to a request whose client has gone."""

TEXT_FIELD = "input"
"""The core's name, and OpenAI's, for what is to be said."""

Shape = Callable[[SpeechError], msgspec.Struct]
"""What the body of an error looks like to a door's clients."""


def openai_shape(error: SpeechError) -> ErrorBody:
    """The body that OpenAI's SDKs turn into an exception; every door's, unless it has one of its own."""
    return ErrorBody(ErrorDetail(error.message, error.type, error.param, error.code))


def body_of(error: SpeechError, state: Mapping[str, Any]) -> msgspec.Struct:
    """The body, in the shape and with the field names of the door that the request's `state` tells of.

    `error_shape` is a Shape; `text_field` is what the door calls the text.
    """
    if error.param == TEXT_FIELD:
        error.param = state.get("text_field", TEXT_FIELD)
    shape: Shape = state.get("error_shape", openai_shape)
    return shape(error)


def headers_of(error: SpeechError) -> dict[str, str]:
    """What the answer's headers say of it."""
    headers = dict(error.headers)
    if isinstance(error, AuthenticationError):
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, RequestTimeoutError):
        headers["connection"] = "close"  # the rest of its body is not a new request
    if error.retry_after is not None:
        headers["retry-after"] = str(math.ceil(error.retry_after))
    if error.status >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
        # OpenAI's SDKs obey this header; without it they would ask a machine without a GPU three times.
        headers["x-should-retry"] = "true" if error.retryable or error.retry_after is not None else "false"
    return headers


def answer_speech_error(request: AnyRequest, error: SpeechError) -> Response[msgspec.Struct]:
    """An error of ours; its class knows the status."""
    state = request.scope["state"]
    state["error"] = error.kind
    if error.status >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
        logger.warning("%s: %s", error.code, error.message)
    return Response(
        body_of(error, state),
        status_code=error.status,
        headers=headers_of(error),
        media_type="application/json",
    )


def answer_http_error(request: AnyRequest, error: HTTPException) -> Response[msgspec.Struct]:
    """An error of the framework's: an unknown path, a wrong method, a bad query."""
    path = request.scope["path"]
    if isinstance(error, NotFoundException):
        ours: SpeechError = NotFoundError(
            f"Unknown URL: {request.method} {path[:200]}. All routes are listed at /apidocs.",
            code="unknown_url",
        )
    elif isinstance(error, MethodNotAllowedException):
        ours = MethodNotAllowedError(f"{request.method} is not allowed on {path[:200]}; see /apidocs.")
    elif error.status_code >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
        return answer_crash(request, error)
    elif isinstance(error, ValidationException) and (wrong := _wrong_field(error)):
        ours = InvalidRequestError(wrong[1], param=wrong[0], code="invalid_value")
    else:
        ours = InvalidRequestError(f"{error.detail.rstrip('.')}.")
        ours.status = error.status_code
    response = answer_speech_error(request, ours)
    response.headers.update({k: v for k, v in (error.headers or {}).items() if k.lower() == "allow"})
    return response


def _wrong_field(error: ValidationException) -> tuple[str, str] | None:
    """The first parameter that the framework could not read, and what it says of it."""
    found = error.extra[0] if isinstance(error.extra, list) and error.extra else {}
    if not isinstance(found, dict) or not (name := found.get("key")):
        return None
    what = str(found.get("message", "")).replace("`", "").rstrip(".")
    return name, f"Invalid value for '{name}': {what[:1].lower()}{what[1:]}."


def answer_client_gone(_request: AnyRequest, _error: ClientGoneError) -> Response[None]:
    """The client hung up before its answer began."""
    return Response(None, status_code=CLIENT_CLOSED_REQUEST)


def answer_crash(request: AnyRequest, error: Exception) -> Response[msgspec.Struct]:
    """A fault of ours: the trace goes to the log, the client learns the request id that finds it there."""
    logger.error("unhandled error", exc_info=error)
    request_id = request.scope.get("state", {}).get("request_id", "")
    ours = SpeechError(
        f"The server failed on this request; its log says why (request {request_id}).", code="internal_error"
    )
    state = request.scope["state"]
    state["error"] = ours.kind
    return Response(
        body_of(ours, state), status_code=500, headers=headers_of(ours), media_type="application/json"
    )


EXCEPTION_HANDLERS: dict[Any, Any] = {
    SpeechError: answer_speech_error,
    ClientGoneError: answer_client_gone,
    HTTPException: answer_http_error,
    Exception: answer_crash,
}
