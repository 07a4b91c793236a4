"""Every error that the client raises for an exchange with the service, in one tree.

    CxrError
    ├── ConnectionFailed          no answer at all; ``__cause__`` is httpx's exception
    ├── ApiError                  an answer that is an error, whoever gave it
    │   ├── Refused               400, 413, 415, 422: about the upload; sending it again changes nothing; also what
    │   │                         the input gate refuses, with the code blank_image, inverted_image, rotated_image,
    │   │                         not_a_chest_radiograph or colour_image
    │   ├── Unauthorized          401, 403: the key is missing, wrong or withdrawn
    │   ├── Busy                  429, 502, 503, 504: may be tried again, see ``retry_after_s``
    │   └── ServerFailed          other 5xx: a fault of the service
    └── UnexpectedAnswer          not an error, and not what the interface describes either

An ``ApiError`` that is none of its subclasses says nothing about the image and is not cured by waiting: an
address that is not the service's (404, 405), a proxy's own refusal, a body that came too slowly (408).

A file that cannot be read, or changes while it is sent, is Python's own ``OSError``; an address or a key that
cannot be one is a ``ValueError``.
"""


class CxrError(Exception):
    """Report that there is no result, and why."""


class ConnectionFailed(CxrError):
    """No answer came: not reachable, cut off, or too slow. Whether the service saw the request is not known."""


class ApiError(CxrError):
    """An answer that is an error.

    Attributes:
        status: HTTP status.
        code: The service's stable word for the error; ``http_<status>`` where the answer is not the service's.
        title: Short, the same for all errors of a status.
        detail: For people: what was received, what is accepted, what to do.
        request_id: Under which the service's log has the request; None where the answer names none.
        retry_after_s: Seconds to wait before another try, as asked for; None where not asked.
        distance: Of the image from the radiographs that the model was trained on; None where that is not why.
        limit: Of such distances; None where ``distance`` is.
    """

    def __init__(
        self,
        status: int,
        code: str,
        title: str,
        detail: str,
        request_id: str | None = None,
        retry_after_s: float | None = None,
        distance: float | None = None,
        limit: float | None = None,
    ) -> None:
        """Set the attributes."""
        # All of them are args, from which pickle makes the exception anew in another process.
        super().__init__(status, code, title, detail, request_id, retry_after_s, distance, limit)
        self.status = status
        self.code = code
        self.title = title
        self.detail = detail
        self.request_id = request_id
        self.retry_after_s = retry_after_s
        self.distance = distance
        self.limit = limit

    def __str__(self) -> str:
        return f"{self.code} ({self.status}): {self.detail}"


class Refused(ApiError):
    """The upload cannot be answered because of what it is; sending it again changes nothing."""


class Unauthorized(ApiError):
    """The key is missing, wrong or withdrawn, or does not permit this."""


class Busy(ApiError):
    """The service cannot answer now: overloaded, starting, or not reachable for the proxy before it."""


class ServerFailed(ApiError):
    """The service failed on a request through a fault of its own."""


class UnexpectedAnswer(CxrError):
    """An answer that no version of the service gives: not its JSON, not a PNG, or a redirect."""
