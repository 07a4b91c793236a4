"""What ends an intake before its end.

    IntakeStopped
    ├── NotUsable          wrong usage: nothing was done
    │   └── LedgerInUse    another intake holds the ledger
    ├── LedgerFailed       the ledger cannot be read or written
    ├── OutputFailed       an export, a heatmap or a quarantined file cannot be written
    └── ServiceGone        the service cannot be reached
        ├── KeyRefused     it takes no, or another, API key
        └── NotTheService  something else answers at its address

Messages may name paths: they are for the person who gave these, on their own screen.
"""

from typing import ClassVar, Final

OK: Final = 0
"""All files have an answer."""

SOME_FAILED: Final = 1
"""Some file has no answer, or was not sent."""

WRONG_USAGE: Final = 2

UNREACHABLE: Final = 3
"""The service does not answer, or not to this key."""


class IntakeStopped(Exception):
    """The intake cannot go on; what was recorded stays, and the same command goes on from there.

    Attributes:
        exit_code: Of the command.
    """

    exit_code: ClassVar[int] = SOME_FAILED


class NotUsable(IntakeStopped):
    """Nothing could be done with what was asked."""

    exit_code = WRONG_USAGE


class LedgerInUse(NotUsable):
    """Another intake works on the same ledger."""


class LedgerFailed(IntakeStopped):
    """The ledger cannot be opened, read or written."""


class OutputFailed(IntakeStopped):
    """A file that was asked for cannot be written."""


class ServiceGone(IntakeStopped):
    """The service did not answer for as long as a file may wait."""

    exit_code = UNREACHABLE


class KeyRefused(ServiceGone):
    """The service refuses the API key."""


class NotTheService(ServiceGone):
    """What answers at the address is not the service."""
