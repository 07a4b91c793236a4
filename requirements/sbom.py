"""Write the software bill of materials of a lock file: ``make sbom``.

CycloneDX (https://cyclonedx.org), JSON: each package with version, hashes of its files as they are locked, and its
licence as it is installed.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


def described_by(*arguments: str) -> dict[str, Any]:
    """Run the tool of the package cyclonedx-bom that describes something."""
    command = [sys.executable, "-m", "cyclonedx_py", *arguments, "--output-reproducible", "--spec-version", "1.6"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def bill_of_materials(lock: Path, python: str) -> dict[str, Any]:
    """Describe a lock file.

    Args:
        lock: Its packages and their hashes.
        python: Of the environment that has these packages, and so their licences.
    """
    bill = described_by("requirements", "--pyproject", str(ROOT / "pyproject.toml"), str(lock))
    installed = described_by("environment", python)["components"]
    licences = {_of(package): package.get("licenses") for package in installed}
    for package in bill["components"]:
        package.pop("description", None)  # The lines of the lock file over again.
        if found := licences.get(_of(package)):
            package["licenses"] = found
    return bill


def _of(package: dict[str, Any]) -> tuple[str, str]:
    return canonicalize_name(package["name"]), package["version"]


def main() -> None:
    """Write it to a file."""
    parser = argparse.ArgumentParser(description="Write the CycloneDX bill of materials of a lock file.")
    parser.add_argument("lock", type=Path, help="file of the packages, with hashes")
    parser.add_argument("python", help="of the environment that has these packages")
    parser.add_argument("out", type=Path, help="file to write")
    arguments = parser.parse_args()
    text = json.dumps(bill_of_materials(arguments.lock, arguments.python), indent=1, sort_keys=True) + "\n"
    if error := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        sys.exit(f"error: what was made is not valid CycloneDX: {error}")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(text, encoding="utf-8")
    print(arguments.out)


if __name__ == "__main__":
    main()
