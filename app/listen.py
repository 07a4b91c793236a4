"""Where the service listens, and whether everybody there may use it."""

import ipaddress
import logging
import socket
from dataclasses import dataclass
from typing import Any

from app.errors import SettingError
from app.settings import Settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Address:
    """An address of this machine to listen on, by number.

    Attributes:
        family: Of the socket.
        address: As the socket module has it; a name is looked up once, so that what was checked is what is used.
    """

    family: socket.AddressFamily
    address: Any

    @property
    def is_loopback(self) -> bool:
        """Whether programs of this machine alone can reach it."""
        number = ipaddress.ip_address(self.address[0].partition("%")[0])
        mapped = getattr(number, "ipv4_mapped", None)
        return (mapped or number).is_loopback

    def listen(self) -> socket.socket:
        """Take the port.

        Raises:
            OSError: It is taken, or not this machine's.
        """
        return socket.create_server(self.address, family=self.family)


def find_address(settings: Settings) -> Address:
    """Look up where to listen.

    Raises:
        OSError: No such name.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    found = socket.getaddrinfo(settings.host, settings.port, family, socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return Address(family, found[0][4])


def check_exposure(settings: Settings, address: Address) -> None:
    """Check that who can reach the service is asked for a key, unless it is this machine alone.

    Raises:
        SettingError: Neither, and the operator has not said that it is meant so.
    """
    if address.is_loopback or settings.api_keys_file:
        return
    if settings.allow_anonymous:
        logger.warning("No API keys are asked for: whoever reaches %s may use the service.", settings.host)
        return
    raise SettingError(
        f"CXR_HOST {settings.host} can be reached from other machines, and no API key would be asked for. "
        "Make keys with 'python -m app.keys FILE NAME' and set CXR_API_KEYS_FILE=FILE; or set CXR_HOST=127.0.0.1, "
        "which this machine alone can reach; or set CXR_ALLOW_ANONYMOUS=true where something else decides who "
        "reaches the service."
    )
