"""Who may ask: decided from a request's headers alone, before its body is read or a place in the queue is taken.

With keys, whoever has one; a browser never adds one by itself, so that no other site can ask in its user's name.
Without keys, programs of this machine and the service's own page. There a page of another site, open in a browser
of this machine, could ask too: it could not read the answers, as no CORS header allows that, but make the service
work, or read them by DNS rebinding, giving its own name the service's address. Hence two checks of what a browser
says and a page cannot change: `Sec-Fetch-Site`, and the name in `Host`.

Source: W3C, Fetch Metadata Request Headers; the same checks are Go's net/http.CrossOriginProtection, and the
hosts that Vite and webpack-dev-server allow.
"""

import ipaddress
import math
from typing import Annotated, Final

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.errors import CrossSite, RateLimited, Unauthorized, UnknownHost
from app.keys import KeyRing, RateLimit
from app.settings import Settings

_SAFE: Final = frozenset({"GET", "HEAD"})
_OWN_SITE: Final = frozenset({"same-origin", "none"})
_BEARER: Final = HTTPBearer(
    auto_error=False, scheme_name="API key", description="Asked for where the service has keys: `CXR_API_KEYS_FILE`."
)


class Access:
    """Decides who may ask.

    Attributes:
        guards: Dependencies of what only those may have.
        upload_guards: Dependencies of what computes: these, and the count of a key's uploads.
    """

    def __init__(self, settings: Settings, keys: KeyRing | None) -> None:
        """Decide by these keys, or without any."""
        self._keys = keys
        self._hosts = frozenset(host.lower() for host in settings.allowed_hosts)
        self.guards = [Depends(self._of_own_site if keys is None else self._with_key)]
        self.upload_guards = list(self.guards)
        if keys is not None and settings.max_uploads_per_minute:
            self._uploads = RateLimit(settings.max_uploads_per_minute)
            self.upload_guards.append(Depends(self._not_too_many))

    async def _with_key(
        self, request: Request, sent: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)]
    ) -> None:
        assert self._keys is not None
        if sent is None:
            raise Unauthorized(
                "The service asks for an API key, and received none. Send it as 'Authorization: Bearer KEY'."
            )
        name = self._keys.name_of(sent.credentials)
        if name is None:
            raise Unauthorized(
                "The API key that was sent is not, or no longer, one of the service's. Ask its operator."
            )
        request.state.key = name

    async def _not_too_many(self, request: Request) -> None:
        seconds = self._uploads.take(request.state.key)
        if seconds:
            retry_after_s = math.ceil(seconds)
            raise RateLimited(
                f"The key {request.state.key!r} has sent as many uploads as it may. Try again in {retry_after_s} s.",
                retry_after_s=retry_after_s,
            )

    async def _of_own_site(self, request: Request) -> None:
        headers = request.headers
        if request.method not in _SAFE and headers.get("sec-fetch-site", "none") not in _OWN_SITE:
            raise CrossSite("The request comes from another site's page. Use the service's own page, or a program.")
        host = _name_of(headers.get("host", ""))
        if not (_is_local(host) or host in self._hosts):
            raise UnknownHost(
                "The service does not go by the name in the request's Host. Use its address, "
                "or have its operator list the name in CXR_ALLOWED_HOSTS."
            )


def _name_of(host: str) -> str:
    """Take the port off what a Host header holds, and the brackets off an IPv6 address."""
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return name.lower().rstrip(".")


def _is_local(name: str) -> bool:
    """Whether a name is none that somebody elsewhere can give an address to: an address, or without a dot."""
    if "." not in name and ":" not in name:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name.endswith(".localhost")
    return True
