"""Nobody is told that this software is used.

OpenVINO tells Google Analytics of every import, and keeps an id for it in the home folder, unless the user has opted
out on that machine; NNCF tells of every quantization. Both go without where ``openvino_telemetry``, on which OpenVINO
depends, is not there.
"""

import sys


def forbid_telemetry() -> None:
    """Make ``openvino_telemetry`` a package that is not installed; call it before OpenVINO or NNCF are imported."""
    # None makes its import an ImportError. Source: Python's reference of the import system, "The module cache".
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
