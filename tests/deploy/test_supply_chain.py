"""``make sbom`` and ``make audit``: the bill has every locked package, and none counts as asked about that was not."""

import json
import os
import re
import subprocess
import sys
import venv
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import pytest
from packaging.utils import canonicalize_name

from tests.app.server import ROOT

LOCK: Final = ROOT / "requirements" / "serve.txt"
LOCKED: Final = {
    (canonicalize_name(name), version): set(re.findall(r"sha256:(\w+)", hashes))
    for name, version, hashes in re.findall(
        r"^([\w.-]+)==([\w.]+)(.*?)(?=^\S|\Z)", LOCK.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
}


def environment_of_the_locked(folder: Path) -> Path:
    """Make an environment with what is installed here of the lock file, in name and licence; answer its Python."""
    venv.create(folder, with_pip=False, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    for name, version in LOCKED:
        installed = metadata.distribution(name)
        if installed.version == version:
            described: Path = installed._path
            (packages / described.name).symlink_to(described)
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def bill(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("bill")
    python = environment_of_the_locked(folder / "environment")
    command = [sys.executable, "requirements/sbom.py", LOCK, python, folder / "dist" / "sbom.json"]
    subprocess.run(command, cwd=ROOT, check=True)
    return json.loads((folder / "dist" / "sbom.json").read_text(encoding="utf-8"))


def test_bill_names_every_locked_package_with_its_hashes(bill: dict[str, Any]) -> None:
    """That it is valid CycloneDX is checked where it is made."""
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "cxr-covid")
    assert len(LOCKED) > 20
    listed = {
        (canonicalize_name(package["name"]), package["version"]): {
            digest["content"] for reference in package["externalReferences"] for digest in reference["hashes"]
        }
        for package in bill["components"]
    }
    assert listed == LOCKED
    for package in bill["components"]:
        assert package["purl"] == f"pkg:pypi/{canonicalize_name(package['name'])}@{package['version']}"


def test_bill_has_the_licence_of_what_is_installed(bill: dict[str, Any]) -> None:
    licences = {(canonicalize_name(c["name"]), c["version"]): c.get("licenses") for c in bill["components"]}
    installed = [(name, version) for name, version in LOCKED if metadata.version(name) == version]
    assert len(installed) > 20
    assert not [package for package in installed if not licences[package]]


def test_bill_holds_no_path_of_this_machine(bill: dict[str, Any]) -> None:
    assert str(ROOT) not in json.dumps(bill)
    assert sys.prefix not in json.dumps(bill)


CLEAN: Final = {"name": "one", "version": "1", "vulns": []}
KNOWN: Final = {"name": "two", "version": "2", "vulns": [{"id": "CVE-0000-1", "fix_versions": ["2.1"]}]}
SKIPPED: Final = {"name": "three", "skip_reason": "Dependency not found on PyPI and could not be audited: three (3)"}


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        ([CLEAN], 0, "1 locked packages: 0 known vulnerabilities"),
        ([CLEAN, KNOWN], 1, "serve.txt: two 2: CVE-0000-1, fixed in 2.1"),
        ([CLEAN, SKIPPED], 3, "1 of 2 packages could not be asked about"),
        ([SKIPPED, KNOWN], 1, "1 of 2 packages could not be asked about"),
        (None, 3, "pypi.org is reached"),
    ],
    ids=["clean", "known", "skipped", "both", "no answer"],
)
def test_audit_tells_what_it_could_not_ask_about(
    tmp_path: Path, answer: list[dict[str, Any]] | None, code: int, words: str
) -> None:
    """With a stand-in for pip-audit, which itself ends with success in the third case."""
    said = "raise OSError('no network')" if answer is None else f"print({json.dumps({'dependencies': answer})!r})"
    (tmp_path / "pip_audit.py").write_text(said)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "requirements/audit.py", LOCK]
    end = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert end.returncode == code, end.stderr
    assert words in end.stdout + end.stderr
    assert "Traceback" not in end.stdout + end.stderr
