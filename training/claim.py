"""A folder belongs to what was started in it: the same may go on there, anything else is refused."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from app.errors import TrainingError
from training.atomic import replacing


class DataIdentity(BaseModel):
    """The data of a run: the digest of their manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    manifest: str


def claim(path: Path, ours: BaseModel, *, begun: bool = True) -> None:
    """Write what a folder is used for, or check that it was claimed for the same.

    Args:
        path: The JSON file; its folder is made if missing.
        ours: What is to be done there. A field that the file lacks has its default.
        begun: Whether anything is finished there; otherwise the folder is free for another use.

    Raises:
        TrainingError: The file says otherwise; names each field that differs.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not (begun and path.exists()):
        with replacing(path) as file:
            file.write(ours.model_dump_json(indent=2).encode())
        return
    try:
        theirs = type(ours).model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, ValueError) as error:
        raise TrainingError(f"{path} cannot be read as what this command writes there. Give another --out.") from error
    if differing := differences(theirs, ours):
        raise TrainingError(
            f"{path.parent} holds another run: in its {path.name} {differing}. "
            "Give another --out, or the recipe, data and options of that run to resume it."
        )


def differences(theirs: BaseModel, ours: BaseModel) -> str:
    """Say of each field that differs, by its dotted name, what it is there and here; "" where none does."""
    there, here = dict(_flat(theirs.model_dump(mode="json"))), dict(_flat(ours.model_dump(mode="json")))
    differing = [name for name in there | here if there.get(name) != here.get(name)]
    return "; ".join(f"{n} is {there.get(n, 'absent')} there and {here.get(n, 'absent')} here" for n in differing)


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the fields of nested JSON by their dotted names."""
    if not isinstance(value, dict | list):
        yield name, value
        return
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield from _flat(inner, f"{name}.{key}" if name else str(key))
