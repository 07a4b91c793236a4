"""Settings are described, frozen, and listed in the README."""

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from pydantic_core import PydanticUndefined

from app.settings import Settings
from tests.app.server import ROOT

README = ROOT / "README.md"


def in_words(default: Any) -> str:
    """A default as the README writes it."""
    if default in (None, ()):
        return "unset"
    if isinstance(default, Path):
        return f"`{default.relative_to(ROOT)}`"
    return f"`{','.join(default) if isinstance(default, tuple) else default}`"


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No settings but those of the test."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"CXR_{name.upper()}", raising=False)
    return monkeypatch


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_has_a_description_and_a_default(name: str) -> None:
    field = Settings.model_fields[name]
    assert field.description
    assert field.description.endswith(".")
    assert field.default is not PydanticUndefined


@pytest.mark.skipif(not README.exists(), reason="README.md is not written yet")
def test_readme_lists_every_setting() -> None:
    rows = re.findall(r"^\| `(CXR_\w+)` \| (.+?) \| (.+?) \|$", README.read_text(), re.MULTILINE)
    expected = [
        (f"CXR_{name.upper()}", in_words(field.default), field.description)
        for name, field in Settings.model_fields.items()
    ]
    assert rows == expected


def test_defaults_admit_a_full_size_radiograph(environment: pytest.MonkeyPatch) -> None:
    settings = Settings()
    assert settings.max_upload_bytes > 4300 * 4300 * 2
    assert settings.max_pixels > 4300 * 4300


def test_environment_is_read(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("CXR_MODALITIES", "CR, DX,")
    environment.setenv("CXR_CACHE_DIR", "/var/cache/cxr")
    environment.setenv("CXR_THREADS", "")
    settings = Settings()
    assert settings.modalities == ("CR", "DX")
    assert settings.cache_dir == Path("/var/cache/cxr")
    assert settings.threads == 0


def test_settings_cannot_change(environment: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().port = 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "65536"), ("PORT", "http"), ("ENGINE", "onnx"), ("MAX_UPLOAD_BYTES", "0"), ("MAX_PIXELS", "-1"),
        ("UPLOAD_MEMORY_BYTES", "0"), ("MAX_HEADER_BYTES", "100"), ("LOG_LEVEL", "loud"), ("THREADS", "-1"),
        ("MODALITIES", ","),
    ],
)  # fmt: skip
def test_wrong_values_are_refused(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    environment.setenv(f"CXR_{name}", value)
    with pytest.raises(ValidationError) as refusal:
        Settings()
    assert refusal.value.errors()[0]["loc"] == (name.lower(),)
