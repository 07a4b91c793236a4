"""Whether figures support any use: derived from them by rules that are stated, each with its reason.

The rules, by what they lead to, the gravest first. The conclusion is that of the gravest one that holds.

``cannot tell``
    More than 1 in 100 images are of the training (ours); a class is missing; fewer than 10 patients of a class (ours: a
    bootstrap over fewer only repeats them); sources are stated and none holds both classes (a model that tells the
    sources apart would reach the same figures).
``no use``
    The model gives one answer to all images; the interval of its ROC AUC reaches 0.5, guessing; it does not lie above
    the best rule that knows one trivial property of the image; sensitivity and specificity at the low ends of their
    intervals sum up to 1 or less, as answers drawn by lot do.
``doubt``
    The ROC AUC is above 0.97: published models near 1 fell far on images from elsewhere
    (DeGrave et al., doi:10.1038/s42256-021-00338-7).
``more images``
    Fewer than 100 patients of a class: external evaluations are advised to have at least so many of each (Collins,
    Ogundimu, Altman, doi:10.1002/sim.6787).
``caution``
    Said beside any conclusion: single images are of the training; patients are not known; the calibration error lies
    above 0.05; the input gate refused more than a tenth; a source, view, age or sex does worse than the whole beyond
    both intervals.
"""

from collections.abc import Iterator
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from training.breakdown import ECE_AIM, SUSPICIOUS_AUC
from training.manifest import LABELS
from training.measures import Estimate
from training.summary.figures import FEWEST_PATIENTS, Figures, Row

Kind = Literal["cannot tell", "no use", "doubt", "more images", "caution"]

ENOUGH_PATIENTS: Final = 100
"""Of each class. Source: see above."""

MOST_SEEN: Final = 0.01
"""Share of the images that may be of the training; our choice."""

_NAMED: Final = 3
"""Rows that a reason names; of more it gives the number."""

MOST_REFUSED: Final = 0.1
"""Share of the images that the input gate may refuse without a word; our choice."""

CONCLUSIONS: Final[dict[Kind, str]] = {
    "cannot tell": "These images cannot tell whether the model is of any use here.",
    "no use": "The figures support no use of the model here, not even in a study.",
    "doubt": "The figures are too good to be believed as they are: find out why before anything else.",
    "more images": "The figures allow to go on measuring with more images; they support no use.",
}
"""By the gravest reason."""

STUDY: Final = (
    "The figures support a further study of the model on images like these, and no use in care: that an answer is "
    "often right does not show that it helps a patient."
)
"""Where there is no reason against it."""


class Reason(BaseModel):
    """One rule that holds."""

    model_config = ConfigDict(frozen=True)

    kind: Kind
    text: str


class Conclusion(BaseModel):
    """What follows from the figures, and why."""

    model_config = ConfigDict(frozen=True)

    text: str
    reasons: list[Reason]


def conclude(figures: Figures) -> Conclusion:
    """Apply the rules."""
    reasons = [*_cannot_tell(figures), *_no_use(figures), *_doubt(figures), *_caution(figures)]
    kinds = {reason.kind for reason in reasons}
    gravest = next((text for kind, text in CONCLUSIONS.items() if kind in kinds), STUDY)
    return Conclusion(text=gravest, reasons=reasons)


def _cannot_tell(figures: Figures) -> Iterator[Reason]:
    if figures.seen_images > MOST_SEEN * sum(figures.images.values()):
        yield Reason(kind="cannot tell", text=f"{_seen(figures)}: new ones it may answer far worse.")
    for label, patients in figures.patients.items():
        if not patients:
            text = f"No image of a patient {_of(label)} is here: whether the model tells the two apart cannot be seen."
            yield Reason(kind="cannot tell", text=text)
        elif patients < FEWEST_PATIENTS:
            text = (
                f"Only {patients} {'patient' if patients == 1 else 'patients'} {_of(label)}: below {FEWEST_PATIENTS} "
                "a figure says next to nothing."
            )
            yield Reason(kind="cannot tell", text=text)
    known = [row.images for row in figures.rows if row.of == "source" and row.value != "not stated"]
    if known and all(figures.images.values()) and not any(all(images.values()) for images in known):
        yield Reason(
            kind="cannot tell",
            text="Patients with and without COVID-19 come from different sources here: a model that tells the "
            "sources apart would look as good.",
        )


def _no_use(figures: Figures) -> Iterator[Reason]:
    area, sensitivity, specificity = figures.roc_auc, figures.sensitivity, figures.specificity
    if figures.only_answer:
        yield Reason(kind="no use", text=f'It says "{figures.only_answer}" to every image here.')
    if not (area and sensitivity and specificity):
        return
    if area.low <= 0.5:
        text = f"It cannot be told from guessing: its ROC AUC may be {area.low:.2f}, and guessing has 0.50."
        yield Reason(kind="no use", text=text)
    elif not figures.only_answer and sensitivity.low + specificity.low <= 1:
        text = (
            f"At its threshold it may be no better than a draw by lot: it may find only {sensitivity.low:.0%} of the "
            f"patients with COVID-19 and clear only {specificity.low:.0%} of the others."
        )
        yield Reason(kind="no use", text=text)
    if figures.rules:
        name, best = max(((name, rule["roc_auc"]) for name, rule in figures.rules.items()), key=lambda rule: rule[1])
        if area.low <= best:
            text = (
                f'It is not clearly better than a rule that looks at "{name.replace("_", " ")}" alone and at no '
                "lung: ROC AUC "
                f"{area.value:.2f} ({area.low:.2f} to {area.high:.2f}) against {best:.2f}."
            )
            yield Reason(kind="no use", text=text)


def _doubt(figures: Figures) -> Iterator[Reason]:
    if figures.roc_auc and figures.roc_auc.value > SUSPICIOUS_AUC:
        yield Reason(
            kind="doubt",
            text=f"A ROC AUC of {figures.roc_auc.value:.3f}, above {SUSPICIOUS_AUC:g}, is rarely true of chest "
            "X-rays: look for what else tells the two apart (device, department, marks, cropping).",
        )
    few = {label: n for label, n in figures.patients.items() if FEWEST_PATIENTS <= n < ENOUGH_PATIENTS}
    if few:
        counted = " and ".join(f"{patients} {_of(label)}" for label, patients in few.items())
        yield Reason(
            kind="more images",
            text=(
                f"Few patients: {counted}. At least {ENOUGH_PATIENTS} of each kind are advised for such a measurement."
            ),
        )


def _caution(figures: Figures) -> Iterator[Reason]:
    if 0 < figures.seen_images <= MOST_SEEN * sum(figures.images.values()):
        yield Reason(kind="caution", text=f"{_seen(figures)}.")
    unknown = sum(figures.images.values()) - figures.images_with_patient
    if unknown:
        yield Reason(
            kind="caution",
            text=f"For {unknown:,} images the patient is not stated: each counts as a patient of its own, and the "
            "ranges below may be too narrow.",
        )
    if figures.calibration_error.low > ECE_AIM and all(figures.images.values()):
        text = f"Its probabilities are off by {100 * figures.calibration_error.value:.0f} points of 100 on average."
        yield Reason(kind="caution", text=text)
    refused = sum((figures.refused or {}).values())
    if refused > MOST_REFUSED * (refused + sum(figures.images.values())):
        yield Reason(
            kind="caution",
            text=f"Its check of the input refused {refused:,} images: what is said here holds for the others alone.",
        )
    worse = [f"{row.of} {row.value}" for row in figures.rows if _is_worse(row, figures)]
    if worse:
        more = f", and {len(worse) - _NAMED} more" if len(worse) > _NAMED else ""
        yield Reason(kind="caution", text=f"It does worse than on the whole for: {', '.join(worse[:_NAMED])}{more}.")


def _seen(figures: Figures) -> str:
    return f"{figures.seen_images:,} of these {sum(figures.images.values()):,} images the model was trained on"


def _is_worse(row: Row, figures: Figures) -> bool:
    pairs = (
        (row.sensitivity, figures.sensitivity, row.patients[LABELS[1]]),
        (row.specificity, figures.specificity, row.patients[LABELS[0]]),
    )
    return any(_below(here, whole) for here, whole, patients in pairs if patients >= FEWEST_PATIENTS)


def _below(here: Estimate | None, whole: Estimate | None) -> bool:
    return bool(here and whole and here.high < whole.low)


def _of(label: str) -> str:
    return "with COVID-19" if label == LABELS[1] else "without COVID-19"
