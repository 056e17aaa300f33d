"""What can go wrong, in words for the person who meets it; each error knows its HTTP status and OpenAI's names."""

from collections.abc import Mapping
from typing import Self

RETRY_SECONDS = 10
"""After how long it is worth to ask again for a model whose load has failed or lasts."""


class SpeechError(Exception):
    """The base of all errors a caller can meet.

    `status` is the HTTP status; `type`, `code` and `param` are the fields of OpenAI's error body. `retryable`
    tells a client whether the same request may succeed later; `retry_after` says after how many seconds. `headers`
    go with the answer.
    """

    status = 500
    type = "server_error"
    code: str | None = None
    retryable = False

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code or type(self).code
        self.retry_after = retry_after
        self.headers = dict(headers or {})

    @property
    def kind(self) -> str:
        """A name for errors of its kind; there are few."""
        return self.code or self.type

    def copy(self) -> Self:
        """The same error for one more caller: an exception carries the trace of whoever raised it."""
        return type(self)(
            self.message,
            param=self.param,
            code=self.code,
            retry_after=self.retry_after,
            headers=self.headers,
        )


class InvalidRequestError(SpeechError):
    """The request cannot be served as it stands; `param` names the field."""

    status = 400
    type = "invalid_request_error"


class NotFoundError(InvalidRequestError):
    """There is no such model, voice or page."""

    status = 404


class MethodNotAllowedError(InvalidRequestError):
    """The path is right, the HTTP method is not."""

    status = 405
    code = "method_not_supported"


class RequestTooLargeError(InvalidRequestError):
    """The body is larger than this server reads."""

    status = 413
    code = "request_too_large"


class RequestTimeoutError(InvalidRequestError):
    """The request came in, or was served, too slowly."""

    status = 408
    code = "request_timeout"


class AuthenticationError(InvalidRequestError):
    """There is no key with the request, or one that this server does not know."""

    status = 401
    code = "invalid_api_key"


class AdminOnlyError(InvalidRequestError):
    """The key is good, but what it asks for concerns everybody."""

    status = 403
    code = "admin_only"


class BusyError(InvalidRequestError):
    """Something that can be done once at a time is being done."""

    status = 409
    code = "busy"


class CrossSiteError(InvalidRequestError):
    """A page of another site sent the request, and the server has not been told to trust it."""

    status = 403
    code = "cross_site_request"


class UnknownHostError(InvalidRequestError):
    """The server was asked for by a name that anybody could have pointed at it."""

    status = 421
    code = "unknown_host"


class ContentRefusedError(InvalidRequestError):
    """The server's owner does not want such a text spoken."""

    code = "content_policy_violation"


class RateLimitError(SpeechError):
    """The caller has had its share for now."""

    status = 429
    type = "requests"
    code = "rate_limit_exceeded"
    retryable = True


class OverloadedError(SpeechError):
    """The server speaks as much as it can, and enough requests wait already."""

    status = 429
    type = "requests"
    code = "overloaded"
    retryable = True


class ModelUnavailableError(SpeechError):
    """The model is known but cannot speak here, however often one asks; the message names the ways out.

    A 4xx: most clients ask again after a 503, whatever else they are told.
    """

    status = 404
    type = "invalid_request_error"
    code = "model_unavailable"


class NotReadyError(SpeechError):
    """The server cannot do it now, but will be able to: a model loads, memory is short; `retry_after` says when."""

    status = 503
    code = "not_ready"
    retryable = True


class ServerUnreadyError(SpeechError):
    """What `/ready` says of a server that cannot speak at all: nobody shall send it requests."""

    status = 503
    code = "model_unavailable"


class SpeechInterruptedError(SpeechError):
    """Whoever asked for the speech has cut in: what follows is not wanted any more."""

    status = 409
    type = "invalid_request_error"
    code = "interrupted"

    def __init__(self, message: str = "The speech was interrupted, as was asked for.") -> None:
        super().__init__(message)


class EngineError(SpeechError):
    """The engine behind a model failed on this request; the next one may work."""

    status = 502
    code = "engine_error"
    retryable = True


class UnspeakableError(EngineError):
    """The engine breaks down on this very text, and would again."""

    code = "unspeakable_text"
    retryable = False


class ShuttingDownError(SpeechError):
    """The server is stopping and takes nothing new."""

    status = 503
    code = "shutting_down"
    retryable = True


class ConfigurationError(Exception):
    """A setting or a catalog file is wrong: one line that says which, what, and what would do."""
