"""The page for clinicians as Markdown: plain words, natural frequencies, no term without its meaning."""

from collections.abc import Sequence
from textwrap import shorten
from typing import Final

from training.bootstrap import CONFIDENCE
from training.card_results import FEWEST_IMAGES
from training.manifest import LABELS, POSITIVE, ClassCounts
from training.markdown import escape, paragraphs, table
from training.measures import Estimate
from training.summary.conclusion import Conclusion
from training.summary.figures import AtPrevalence, Bin, Figures, Row

RESEARCH_ONLY: Final = "Research only: no diagnosis. No answer of this model may decide about a patient."

_WITH, _WITHOUT = "with COVID-19", "without COVID-19"
_EXAMINED: Final = 1000
_MOST_ROWS: Final = 3
"""Of each of source, view, age and sex, those with most images: more do not fit; all are in ``summary.json``."""

_MOST_PREVALENCES: Final = 3
"""On the page, those stated first; all are in ``summary.json``."""

_LONGEST_VALUE: Final = 36
"""Letters of a source or view, for a row of one line."""


def summary_text(figures: Figures, conclusion: Conclusion) -> str:
    """Write the page; a section without content is left out with its heading."""
    sections = {
        "Conclusion": _conclusion(conclusion),
        "What was measured": _measured(figures),
        "What the model does here": _does(figures),
        "Beside rules that look at no lung": _beside(figures),
        "What its probabilities mean here": _calibration(figures),
        "Where COVID-19 is as frequent as stated": _at_prevalences(figures),
        "By source, view, age and sex": _by_row(figures.rows),
    }
    written = [f"## {title}\n\n{body}" for title, body in sections.items() if body]
    how = (
        f"Ranges in brackets hold the true value for {CONFIDENCE:.0%} of such measurements (drawn again by patient). "
        "Nothing was fitted to these images. All figures: summary.json; technical report: index.html."
    )
    return paragraphs(f"# {escape(figures.title)}", f"**{RESEARCH_ONLY}**", *written, how) + "\n"


def _conclusion(conclusion: Conclusion) -> str:
    reasons = "\n".join(f"- {escape(reason.text)}" for reason in conclusion.reasons)
    return paragraphs(f"**{conclusion.text}**", reasons)


def _measured(figures: Figures) -> str:
    images = sum(figures.images.values())
    with_it, without = (_from_patients(label, figures) for label in (LABELS[POSITIVE], LABELS[1 - POSITIVE]))
    sentences = [
        f"{images:,} chest X-rays: {with_it} {_WITH}, and {without} {_WITHOUT}.",
        _left_out(figures.skipped),
        _gate(figures),
        f'The model (digest `{figures.digest[:16]}`) says "COVID-19" from a probability of {figures.threshold:.3f} on, '
        "its threshold.",
    ]
    return " ".join(sentences)


def _from_patients(label: str, figures: Figures) -> str:
    if not figures.images[label]:
        return "none of patients"
    if not figures.images_with_patient:
        return f"{figures.images[label]:,} of patients"
    return f"{figures.images[label]:,} from {figures.patients[label]:,} patients"


def _left_out(skipped: ClassCounts) -> str:
    total = sum(skipped.values())
    if not total:
        return "All images could be read."
    counted = f"{skipped[LABELS[POSITIVE]]:,} {_WITH}, {skipped[LABELS[1 - POSITIVE]]:,} {_WITHOUT}"
    return f"{total:,} more could not be read and {'is' if total == 1 else 'are'} left out ({counted})."


def _gate(figures: Figures) -> str:
    if figures.refused is None:
        return "The model has no check of what an image shows: it answers any."
    total = sum(figures.refused.values())
    counted = f"{figures.refused[LABELS[POSITIVE]]:,} {_WITH}, {figures.refused[LABELS[1 - POSITIVE]]:,} {_WITHOUT}"
    return f"Its check of the input refused {total:,} more as no frontal chest X-ray ({counted}): they got no answer."


def _does(figures: Figures) -> str:
    lines = []
    if found := figures.sensitivity:
        lines.append(
            f"Of 100 X-rays of patients {_WITH} like these it would call about {_hundredth(found)} COVID-19 and miss "
            "the others (sensitivity)."
        )
    if cleared := figures.specificity:
        lines.append(
            f"Of 100 X-rays of patients {_WITHOUT} it would call about {_hundredth(cleared)} not COVID-19, and the "
            "others wrongly COVID-19 (specificity)."
        )
    if area := figures.roc_auc:
        lines.append(
            f"Shown one of each, it gives the one {_WITH} the higher probability in about {_hundredth(area)} of 100 "
            "pairs; guessing does in 50 (ROC AUC)."
        )
    return "\n".join(f"- {line}" for line in lines)


def _beside(figures: Figures) -> str:
    if not all(figures.images.values()):
        return ""
    rows = [
        ["the model", _percent(figures.accuracy), _decimal(figures.roc_auc)],
        ["always the more frequent answer", f"{100 * figures.larger_class_share:.0f} %", "0.50"],
        *(
            [f"only: {escape(name.replace('_', ' '))}", f"{100 * rule['accuracy']:.0f} %", f"{rule['roc_auc']:.2f}"]
            for name, rule in figures.rules.items()
        ),
    ]
    return table(["", "right answers", "ROC AUC"], rows)


def _at_prevalences(figures: Figures) -> str:
    if not (figures.sensitivity and figures.specificity):
        return ""
    header = [
        f"have it, of {_EXAMINED:,}",
        "it calls COVID-19",
        "have it, of 100 so called",
        "it misses",
        "free of it, of 100 others",
    ]
    rows = [
        _at_prevalence(of, figures.sensitivity, figures.specificity)
        for of in figures.at_prevalences[:_MOST_PREVALENCES]
    ]
    intro = (
        "How often an answer is right depends on how frequent COVID-19 is among those examined. These shares were "
        "stated for this page; the share among the images here is not that of a ward."
    )
    return paragraphs(intro, table(header, rows))


def _at_prevalence(of: AtPrevalence, sensitivity: Estimate, specificity: Estimate) -> list[str]:
    ill = _EXAMINED * of.prevalence
    found = ill * sensitivity.value
    called = found + (_EXAMINED - ill) * (1 - specificity.value)
    positive, negative = (_hundredth(value) if value else "never said" for value in (of.positive, of.negative))
    return [f"{ill:g} ({100 * of.prevalence:g} %)", f"{called:,.0f}", positive, f"{ill - found:,.0f}", negative]


def _calibration(figures: Figures) -> str:
    shown = [of for of in figures.bins if of.images >= FEWEST_IMAGES]
    if not all(figures.images.values()) or not shown:
        return ""
    error = figures.calibration_error
    intro = (
        f"Off by {100 * error.value:.0f} points of 100 on average ({100 * error.low:.0f} to {100 * error.high:.0f}), "
        "at the share of COVID-19 here; with another share they mean something else."
    )
    return paragraphs(intro, _bins(shown))


def _bins(bins: Sequence[Bin]) -> str:
    header = ["it said, of 100", *(f"{100 * of.mean_probability:.0f}" for of in bins)]
    rows = [
        ["images", *(f"{of.images:,}" for of in bins)],
        ["had it, of 100", *(f"{100 * of.share.value:.0f}" for of in bins)],
    ]
    return table(header, rows)


def _by_row(rows: Sequence[Row]) -> str:
    shown = [row for of in dict.fromkeys(row.of for row in rows) for row in _largest([r for r in rows if r.of == of])]
    if not shown:
        return ""
    header = ["", f"images {_WITH}", "found, of 100", f"images {_WITHOUT}", "cleared, of 100"]
    cells = [
        [
            f"{row.of}: {escape(shorten(row.value, _LONGEST_VALUE, placeholder='…'))}",
            f"{row.images[LABELS[POSITIVE]]:,}",
            _of_few(row.sensitivity, row.images[LABELS[POSITIVE]]),
            f"{row.images[LABELS[1 - POSITIVE]]:,}",
            _of_few(row.specificity, row.images[LABELS[1 - POSITIVE]]),
        ]
        for row in shown
    ]
    return table(header, cells)


def _largest(rows: Sequence[Row]) -> Sequence[Row]:
    """Take the values with most images, in their order; none where one value holds all, as it says nothing new."""
    if len(rows) == 1:
        return []
    by_images = sorted(rows, key=lambda row: sum(row.images.values()), reverse=True)[:_MOST_ROWS]
    return [row for row in rows if row in by_images]


def _of_few(estimate: Estimate | None, images: int) -> str:
    if estimate is None:
        return "none"
    return _hundredth(estimate) if images >= FEWEST_IMAGES else "too few"


def _hundredth(of: Estimate) -> str:
    """Tell a share as so many of 100, with its range: "83 (74 to 90)"."""
    return f"{_whole(of.value)} ({_whole(of.low)} to {_whole(of.high)})"


def _whole(share: float) -> str:
    rounded = round(100 * share)
    if rounded == 100 and share < 1:
        return "over 99"
    return "under 1" if rounded == 0 and share > 0 else str(rounded)


def _percent(of: Estimate) -> str:
    return f"{100 * of.value:.0f} % ({100 * of.low:.0f} to {100 * of.high:.0f})"


def _decimal(of: Estimate | None) -> str:
    return f"{of.value:.2f} ({of.low:.2f} to {of.high:.2f})" if of else "not estimable"
