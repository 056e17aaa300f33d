"""Every error as OpenAI's JSON body, whatever raised it."""

import http
import logging
import math
from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException

from orpheus_openai.errors import InvalidRequestError, MethodNotAllowedError, NotFoundError, SpeechError
from orpheus_openai.http.delivery import ClientGoneError
from orpheus_openai.http.error_body import ErrorBody, ErrorDetail

logger = logging.getLogger(__name__)

AnyRequest = Request[Any, Any, Any]
CLIENT_CLOSED_REQUEST = 499
"""For the log only: nobody reads the answer to a request whose client has gone."""


def error_body(error: SpeechError) -> ErrorBody:
    """The body that OpenAI's SDKs turn into an exception."""
    return ErrorBody(ErrorDetail(error.message, error.type, error.param, error.code))


def answer_speech_error(request: AnyRequest, error: SpeechError) -> Response[ErrorBody]:
    """An error of ours; its class knows the status."""
    request.scope["state"]["error"] = error.kind
    headers = dict(error.headers)
    if error.retry_after is not None:
        headers["retry-after"] = str(math.ceil(error.retry_after))
    if error.status >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
        logger.warning("%s: %s", error.code, error.message)
        # OpenAI's SDKs obey this header; without it they would ask a machine without a GPU three times.
        headers["x-should-retry"] = "true" if error.retryable or error.retry_after is not None else "false"
    return Response(
        error_body(error), status_code=error.status, headers=headers, media_type="application/json"
    )


def answer_http_error(request: AnyRequest, error: HTTPException) -> Response[ErrorBody]:
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
    else:
        ours = InvalidRequestError(f"{error.detail.rstrip('.')}.")
        ours.status = error.status_code
    response = answer_speech_error(request, ours)
    response.headers.update({k: v for k, v in (error.headers or {}).items() if k.lower() == "allow"})
    return response


def answer_client_gone(_request: AnyRequest, _error: ClientGoneError) -> Response[None]:
    """The client hung up before its answer began."""
    return Response(None, status_code=CLIENT_CLOSED_REQUEST)


def answer_crash(request: AnyRequest, error: Exception) -> Response[ErrorBody]:
    """A fault of ours: the trace goes to the log, the client learns the request id that finds it there."""
    logger.error("unhandled error", exc_info=error)
    request_id = request.scope.get("state", {}).get("request_id", "")
    ours = SpeechError(
        f"The server failed at this request; its log says why (request {request_id}).", code="internal_error"
    )
    request.scope["state"]["error"] = ours.kind
    return Response(
        error_body(ours), status_code=500, headers={"x-should-retry": "false"}, media_type="application/json"
    )


EXCEPTION_HANDLERS: dict[Any, Any] = {
    SpeechError: answer_speech_error,
    ClientGoneError: answer_client_gone,
    HTTPException: answer_http_error,
    Exception: answer_crash,
}
