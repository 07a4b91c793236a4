"""Ask PyPI's advisories about the locked packages: ``make audit`` (needs a network that leads there).

pip-audit by itself ends with success where it could ask about no package at all. Exit codes: 0 nothing is known
against any of them, 1 something is, 3 some or all could not be asked about.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HOW = (
    "It takes https://pypi.org/pypi/<name>/<version>/json, which most mirrors do not have. Run 'make audit' where "
    "pypi.org is reached, with PIP_INDEX_URL unset."
)


def ask(lock: Path) -> list[dict[str, Any]]:
    """Ask about the packages of a lock file; answers pip-audit's record of each, none where nobody answers."""
    command = [sys.executable, "-m", "pip_audit", "--progress-spinner=off", "--disable-pip", "--require-hashes"]
    end = subprocess.run([*command, "--format=json", "-r", lock], capture_output=True, text=True, check=False)
    try:
        return json.loads(end.stdout)["dependencies"]
    except ValueError:
        print((end.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1], file=sys.stderr)
        return []


def audit(locks: list[Path]) -> int:
    """Report on lock files.

    Returns:
        The exit code.
    """
    asked, unknown, known = 0, 0, 0
    for lock in locks:
        packages = ask(lock)
        unknown += not packages
        for package in packages:
            asked += 1
            unknown += "skip_reason" in package
            for entry in package.get("vulns", ()):
                known += 1
                fixed = ", ".join(entry["fix_versions"]) or "no version"
                print(f"{lock.name}: {package['name']} {package['version']}: {entry['id']}, fixed in {fixed}")
    if unknown:
        print(f"error: {unknown} of {asked} packages could not be asked about. {HOW}", file=sys.stderr)
    else:
        print(f"{asked} locked packages: {known} known vulnerabilities")
    return 1 if known else 3 if unknown else 0


if __name__ == "__main__":
    sys.exit(audit([Path(name) for name in sys.argv[1:]]))
