"""Configuration as TOML, which the standard library reads and does not write."""

import json
from collections.abc import Mapping
from typing import Any


def toml_text(fields: Mapping[str, Any]) -> str:
    """Write fields as a TOML document.

    Args:
        fields: By bare key (letters, digits, ``_``, ``-``): strings, booleans, numbers, lists of these, mappings
            (tables) and lists of mappings (arrays of tables), at any depth. None is left out: TOML has no null.

    Returns:
        Text that ``tomllib.loads`` reads back to the same fields, less what was None.
    """
    return "\n".join(_lines(fields)).strip("\n") + "\n"


def _lines(fields: Mapping[str, Any], path: str = "") -> list[str]:
    """Write a table's own values, then the tables in it: what follows a header belongs to it."""
    lines, tables = [], []
    for key, value in fields.items():
        if isinstance(value, Mapping):
            tables += ["", f"[{path}{key}]", *_lines(value, f"{path}{key}.")]
        elif isinstance(value, list | tuple) and value and all(isinstance(item, Mapping) for item in value):
            for item in value:
                tables += ["", f"[[{path}{key}]]", *_lines(item, f"{path}{key}.")]
        elif value is not None:
            lines.append(f"{key} = {_value(value)}")
    return lines + tables


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)  # The shortest text that is read back as the same number.
    if isinstance(value, str):
        # JSON's escapes are TOML's, but for DEL, and for the surrogate pairs that ASCII would need.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(item) for item in value)}]"
    raise TypeError(f"TOML has no {type(value).__name__}: {value!r}")
