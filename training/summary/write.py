"""Write the page for clinicians: Markdown, one HTML file, and its figures for programs."""

import json
from collections.abc import Sequence
from pathlib import Path

from training.prevalence import PREVALENCES
from training.results import Evidence
from training.summary.conclusion import conclude
from training.summary.figures import measure_summary
from training.summary.page import to_sheet
from training.summary.text import summary_text


def write_summary(evidence: Evidence, out: Path, prevalences: Sequence[float] = PREVALENCES) -> Path:
    """Write ``summary.md``, ``summary.html`` and ``summary.json``; they show no image, file name or patient.

    Args:
        evidence: Of one model on one folder.
        out: Folder of the files; made if missing.
        prevalences: Of COVID-19 among those examined, for the predictive values.

    Returns:
        ``summary.html``.
    """
    figures = measure_summary(evidence, prevalences)
    conclusion = conclude(figures)
    markdown = summary_text(figures, conclusion)
    out.mkdir(parents=True, exist_ok=True)
    (out / "summary.md").write_text(markdown, encoding="utf-8")
    written = {"conclusion": conclusion.model_dump(), "figures": figures.model_dump()}
    (out / "summary.json").write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
    page = out / "summary.html"
    page.write_text(to_sheet(markdown, figures.title), encoding="utf-8")
    return page
