"""Measurements of any shape as Markdown: what stands in a JSON file, in tables, without a hand in between.

A figure with its interval is an object with ``value``, ``low`` and ``high``. Objects or lists of objects that share
fields become a table, single values a list.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from training.markdown import escape, paragraphs, table

_ESTIMATE = {"value", "low", "high"}


def measurement_text(measured: Mapping[str, Any], level: int = 3) -> str:
    """Write measurements as lists, tables and, for what is nested deeper, sections.

    Args:
        measured: As read from JSON.
        level: Of the headings.
    """
    rows = _rows(measured)
    if rows is not None:
        return _table(rows)
    single = {name: value for name, value in measured.items() if _is_single(value)}
    listed = "\n".join(f"- {_name(name)}: {_cell(value)}" for name, value in single.items())
    sections = [
        f"{'#' * min(level, 6)} {_capital(_name(name))}\n\n{_nested(value, level)}"
        for name, value in measured.items()
        if name not in single
    ]
    return paragraphs(listed, *sections)


def _nested(value: Any, level: int) -> str:
    if isinstance(value, Mapping):
        return measurement_text(value, level + 1)
    rows = _rows(value)
    if rows is not None:
        return _table(rows)
    return "\n".join(f"- {_cell(item) if _is_single(item) else escape(str(item))}" for item in value)


def _rows(value: Any) -> list[tuple[str, Mapping[str, Any]]] | None:
    """Take an object of flat objects, or a list of them, as rows with their names; None if it is neither."""
    named = list(value.items()) if isinstance(value, Mapping) else [("", item) for item in value]
    return named if named and all(_is_row(of) for _, of in named) else None


def _is_row(value: Any) -> bool:
    return isinstance(value, Mapping) and not _is_single(value) and all(map(_is_single, value.values()))


def _table(rows: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    columns = list(dict.fromkeys(column for _, row in rows for column in row))
    names = [""] if any(name for name, _ in rows) else []
    return table(
        [*names, *map(_name, columns)],
        [[*([_name(name)] if names else []), *(_cell(row.get(column)) for column in columns)] for name, row in rows],
    )


def _is_single(value: Any) -> bool:
    if isinstance(value, Mapping):
        return value.keys() == _ESTIMATE
    return not isinstance(value, Sequence) or isinstance(value, str)


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{value['value']:.3f} ({value['low']:.3f} to {value['high']:.3f})"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) >= 0.001 or not value else f"{value:.2g}"
    if isinstance(value, int):
        return f"{value:,}"
    return "" if value is None else escape(str(value))


def _name(name: str) -> str:
    return escape(name.replace("_", " "))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
