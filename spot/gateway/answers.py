"""What every HTTP answer has in common: JSON bodies, and one shape of error.

Handlers return structs through `json_answer` and raise `ApiError`; the middleware turns whatever
else goes wrong into the same `{"error": {"code", "message", "field"?}}`.
"""

from collections.abc import Mapping

import msgspec
from aiohttp import web

from spot.errors import SpotError


class ErrorBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """What went wrong: a code for programs, a text for people, the parameter that is to blame."""

    code: str
    message: str
    field: str | None = None


class ErrorAnswer(msgspec.Struct, frozen=True):
    """The body of every answer that is an error."""

    error: ErrorBody


class ApiError(SpotError):
    """A request that gets an error for an answer."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        field: str | None = None,
        retry_after_seconds: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = ErrorBody(code, message, field)
        self.headers = dict(headers or {})
        if retry_after_seconds is not None:
            self.headers["Retry-After"] = str(retry_after_seconds)


def bad_request(field: str, message: str) -> ApiError:
    """Return the error for a parameter that cannot be used."""
    return ApiError(400, f"invalid_{field}", message, field=field)


def json_answer(body: msgspec.Struct, *, status: int = 200) -> web.Response:
    """Return `body` as JSON that no cache keeps."""
    return web.Response(
        body=msgspec.json.encode(body),
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


def error_answer(error: ApiError) -> web.Response:
    """Return the error as its answer."""
    answer = json_answer(ErrorAnswer(error.body), status=error.status)
    answer.headers.update(error.headers)
    return answer
