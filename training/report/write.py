"""The report of a study, or of one model's evaluation: Markdown, one self-contained HTML file, figures, numbers."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Final

from training.comparison import PREVALENCE, main_part, measure
from training.prevalence import check_prevalence
from training.report import figures, gallery
from training.report.figures import FIGURES, draw_charts
from training.report.gallery import draw_gallery
from training.report.page import to_page
from training.report.text import Content, report_text
from training.results import Evidence

_MARKDOWN, _METRICS, _PAGE = "report.md", "metrics.json", "index.html"
_DRAWN: Final = (*figures.FILES, *gallery.FILES)

_FOLDER: Final = "FOLDER"
"""Stands in a public report for every folder or file that the command names."""

_NAMING_FOLDERS: Final = frozenset({"--data", "--out", "--model", "--models"})
"""Options whose value is one, also where it does not look like it."""


def write_report(evidence: Evidence, out: Path, *, public: bool = False, prevalence: float = PREVALENCE) -> Path:
    """Write ``report.md``, ``index.html``, ``metrics.json`` and ``figures/*.png``.

    An earlier report in the same folder is removed first.

    Args:
        evidence: The models and the data.
        out: Folder of the report; made if missing.
        public: Leave out every radiograph, heatmap, file name, folder and identifier.
        prevalence: Of COVID-19, for the predictive values; above 0 and below 1.

    Returns:
        ``index.html``.

    Raises:
        TrainingError: The prevalence is none.
    """
    check_prevalence(prevalence)
    shown = _for_everybody(evidence) if public else evidence
    _remove_earlier(out)
    comparison = measure(shown, prevalence)
    winner = shown.models[shown.winner]
    content = Content(
        comparison=comparison,
        charts=draw_charts(shown.models, comparison, out / FIGURES),
        structure=winner.structure,
        gallery=draw_gallery(winner, main_part(shown), shown.look, out / FIGURES) if shown.look else None,
        skipped_files=() if public else tuple(fault.record.path for fault in shown.manifest.skipped),
        public=public,
    )
    markdown = report_text(content)
    (out / _MARKDOWN).write_text(markdown, encoding="utf-8")
    (out / _METRICS).write_text(comparison.model_dump_json(indent=1) + "\n", encoding="utf-8")
    page = out / _PAGE
    page.write_text(to_page(markdown, comparison.title, out), encoding="utf-8")
    return page


def _remove_earlier(out: Path) -> None:
    """Remove an earlier report, above all the images that a public one must not leave there."""
    figures = (out / FIGURES).glob("*.png")
    drawn = [path for path in figures if any(path.match(name) for name in _DRAWN)]
    for path in [*drawn, *(out / name for name in (_MARKDOWN, _METRICS, _PAGE))]:
        path.unlink(missing_ok=True)


def _for_everybody(evidence: Evidence) -> Evidence:
    """Return evidence without the images and without the names of folders."""
    root = str(evidence.manifest.root.absolute())
    return replace(
        evidence,
        look=None,
        command=_without_folders(evidence.command),
        environment={name: value.replace(root, _FOLDER) for name, value in evidence.environment.items()},
    )


def _without_folders(command: str) -> str:
    try:
        words = shlex.split(command)
    except ValueError:  # An open quotation mark: where a name ends is not known.
        return "Not shown: it names folders."
    return shlex.join(_hide(word, previous) for previous, word in zip(["", *words], words, strict=False))


def _hide(word: str, previous: str) -> str:
    option, equals, value = word.partition("=")
    if word.startswith("-") and not equals:
        return word
    named = value if word.startswith("-") else word
    if not {previous, option} & _NAMING_FOLDERS and not _is_path(named):
        return word
    return f"{option}={_FOLDER}" if word.startswith("-") else _FOLDER


def _is_path(word: str) -> bool:
    return "/" in word or "\\" in word or word.endswith((".h5", ".toml"))
