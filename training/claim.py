"""A folder belongs to what was started in it: the same may go on there, anything else is refused."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from app.errors import TrainingError
from training.atomic import replacing


class DataIdentity(BaseModel):
    """The data of a run: the digest of their manifest and, where it is not the usual split, that of their parts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    manifest: str
    parts: str | None = None


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
    return "; ".join(_differing("", theirs.model_dump(mode="json"), ours.model_dump(mode="json")))


def _differing(name: str, there: Any, here: Any) -> Iterator[str]:
    if not (isinstance(there, dict | list) and type(there) is type(here)):
        if there != here:
            yield f"{name} is {there} there and {here} here"
        return
    fields_there, fields_here = _fields(there), _fields(here)
    for key in fields_there | fields_here:
        inner = f"{name}.{key}" if name else key
        if key not in fields_here:
            yield f"{inner} is there and not here"
        elif key not in fields_there:
            yield f"{inner} is here and not there"
        else:
            yield from _differing(inner, fields_there[key], fields_here[key])


def _fields(value: dict[str, Any] | list[Any]) -> dict[str, Any]:
    return value if isinstance(value, dict) else {str(index): item for index, item in enumerate(value)}
