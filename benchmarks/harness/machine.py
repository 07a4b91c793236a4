"""What a figure was measured on."""

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from app.engines import usable_cores

FLAGS: Final = ("amx_bf16", "avx512_bf16", "avx512_vnni", "avx2")
"""Of the processor, as Linux names them: what decides OpenVINO's speed in bf16, int8 and f32."""


def describe_machine(*packages: str) -> str:
    """Name the processor with its flags, the cores, the versions and the load.

    Args:
        *packages: Distributions whose versions matter; those that are not installed are left out.
    """
    cpuinfo = Path("/proc/cpuinfo").read_text()
    name = re.search(r"model name\s*: (.*)", cpuinfo)
    flags = set(re.findall(r"\S+", found[1])) if (found := re.search(r"flags\s*: (.*)", cpuinfo)) else set()
    has = ", ".join(f"{flag} {'yes' if flag in flags else 'no'}" for flag in FLAGS)
    versions = ", ".join((f"Python {platform.python_version()}", *filter(None, map(_version, packages))))
    return (
        f"{name[1] if name else platform.processor()} ({has}), {usable_cores()} cores\n"
        f"{versions}; load before {os.getloadavg()[0]:.1f}"
    )


def _version(package: str) -> str | None:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return None
