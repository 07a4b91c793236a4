"""Lower precisions than float32: what each changes on validation, and whether a model may be served in it."""

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from app.artifact import GOLDEN, INT8_MODEL, POSITIVE, Artifact, Metadata, Precision, PrecisionRecord, file_digests
from app.engines.openvino import OpenVinoEngine
from app.outputs import Golden, Infer
from training.golden import hidden_mistake
from training.quantize import quantize
from training.squares import BATCH, infer_squares

logger = logging.getLogger(__name__)

LARGEST_DIFFERENCE: Final = 0.01
"""Of a probability in bf16, and how far from the threshold an image may be whose label flips."""

LARGEST_AUC_DIFFERENCE: Final = 0.001
"""Of the ROC AUC in bf16, either way."""

ACCURACY_DIFFERENCE: Final = 0.005
"""Of the accuracy in int8, either way: less than this."""

_TOLERANCE_MARGIN: Final = 5
"""Times what was measured on three golden inputs: another processor rounds otherwise."""

_LEAST_TOLERANCE: Final = 0.01
"""Of an output: golden inputs on which this processor happens to round as f32 does promise nothing of another."""

_MISTAKE_MARGIN: Final = 2
"""Times the tolerance: what a mistake must change, so that a precision's own error cannot hide it."""


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """What the model answers on validation in f32.

    Attributes:
        squares: Grey levels, uint8 (N, 224, 224).
        labels: (N,).
        probabilities: Of COVID-19, float32 (N,).
        threshold: From this probability on the answer is COVID-19.
    """

    squares: NDArray[np.uint8]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    threshold: float


def covid_probabilities(infer: Infer, squares: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Ask an engine for the probability of COVID-19 of squares (N, 224, 224), as float32 (N,)."""
    return infer_squares(infer, squares).probabilities[:, POSITIVE]


def measure_precisions(
    folder: Path, metadata: Metadata, reference: Reference, calibration: NDArray[np.uint8] | None
) -> Metadata:
    """Measure bf16, and int8 if asked, and keep the quantized network where it is accepted.

    Args:
        folder: An artifact with its network and its golden outputs.
        metadata: Of it, so far.
        reference: What it answers in f32.
        calibration: Training images to quantize it with, uint8 (M, 224, 224); None: no int8.

    Returns:
        The metadata with a record of each precision that was measured and a tolerance of each that was accepted.
        Where the processor does not compute in bf16 there is no record of it.

    Raises:
        ArtifactError: OpenVINO cannot read a network.
    """
    if computes_bf16():
        metadata = _with_record(folder, metadata, "bf16", reference)
    else:
        logger.warning("bf16 was not measured: this processor does not compute in it. The model is served in f32.")
    if calibration is not None:
        quantize(folder, calibration, folder / INT8_MODEL)
        metadata = _with_record(folder, metadata, "int8", reference)
        if not metadata.precisions["int8"].accepted:
            shutil.rmtree((folder / INT8_MODEL).parent)
    return metadata


def computes_bf16() -> bool:
    """Say whether OpenVINO computes in bfloat16 on this processor."""
    return "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def judge(precision: Precision, measured: PrecisionRecord) -> tuple[str, ...]:
    """Name what forbids to serve in a precision; nothing where it may be served.

    Args:
        precision: "bf16" is another way to compute the same network and must not be noticed; "int8" is another
            network and must be as accurate.
        measured: On validation.
    """
    if precision == "int8":
        if abs(measured.accuracy_difference) < ACCURACY_DIFFERENCE:
            return ()
        return (f"accuracy moves by {measured.accuracy_difference:+.4f}, not by less than {ACCURACY_DIFFERENCE:g}",)
    reasons = []
    if measured.largest_difference > LARGEST_DIFFERENCE:
        reasons.append(f"a probability differs by {measured.largest_difference:.4f}, more than {LARGEST_DIFFERENCE:g}")
    if measured.farthest_flip is not None and measured.farthest_flip > LARGEST_DIFFERENCE:
        reasons.append(
            f"a label flips {measured.farthest_flip:.4f} from the threshold, farther than {LARGEST_DIFFERENCE:g}"
        )
    if abs(measured.roc_auc_difference) > LARGEST_AUC_DIFFERENCE:
        reasons.append(f"ROC AUC moves by {measured.roc_auc_difference:+.4f}, more than {LARGEST_AUC_DIFFERENCE:g}")
    return tuple(reasons)


def compare(reference: Reference, probabilities: NDArray[np.float32]) -> PrecisionRecord:
    """Compare probabilities of COVID-19, float32 (N,), with those in f32; not yet judged, and so not accepted.

    An answer that is no number counts as the worst that there is.
    """
    before = reference.probabilities.astype(np.float64)
    after = np.where(np.isfinite(probabilities), probabilities, before < 0.5).astype(np.float64)
    answers, truth = (before >= reference.threshold, after >= reference.threshold), reference.labels == POSITIVE
    flipped = answers[0] != answers[1]
    distances = np.abs(before - reference.threshold)[flipped]
    return PrecisionRecord(
        images=len(before),
        largest_difference=float(np.abs(after - before).max()),
        label_flips=int(flipped.sum()),
        farthest_flip=float(distances.max()) if len(distances) else None,
        roc_auc_difference=float(roc_auc_score(truth, after) - roc_auc_score(truth, before)),
        accuracy_difference=float((answers[1] == truth).mean() - (answers[0] == truth).mean()),
        accepted=False,
    )


def golden_tolerance(golden: Golden, infer: Infer) -> tuple[dict[str, float], tuple[str, ...]]:
    """Derive how far from the golden outputs a precision may be from how far it is here.

    Args:
        golden: Inputs and outputs in f32.
        infer: The engine in the precision.

    Returns:
        The tolerance of each output, and what forbids to serve with it: a mistake that it would not show.
    """
    differences = [golden.largest_difference(infer, size) for size in (1, BATCH)]
    largest = {name: max(measured[name] for measured in differences) for name in differences[0]}
    tolerance = {name: max(_LEAST_TOLERANCE, _TOLERANCE_MARGIN * value) for name, value in largest.items()}
    if not np.isfinite(list(tolerance.values())).all():
        return tolerance, ("golden inputs are answered by what is no number",)
    mistake = hidden_mistake(golden, infer, _MISTAKE_MARGIN * tolerance["probabilities"])
    if mistake is None:
        return tolerance, ()
    return tolerance, (
        f"golden probabilities differ by {largest['probabilities']:.2g}: with a tolerance for that {mistake} would not "
        "show",
    )


def _with_record(folder: Path, metadata: Metadata, precision: Precision, reference: Reference) -> Metadata:
    listed = metadata.model_copy(update={"files": file_digests(folder)})
    artifact = Artifact(folder, listed, digest="", card="")  # Neither is there before everything is measured.
    infer = OpenVinoEngine(artifact, precision=precision, batch_size=BATCH).infer
    measured = compare(reference, covid_probabilities(infer, reference.squares))
    tolerance, hidden = golden_tolerance(Golden.load(folder / GOLDEN), infer)
    reasons = judge(precision, measured) + hidden
    record = measured.model_copy(update={"accepted": not reasons, "reasons": reasons})
    tolerances = metadata.tolerances if reasons else metadata.tolerances | {precision: tolerance}
    return metadata.model_copy(
        update={"precisions": metadata.precisions | {precision: record}, "tolerances": tolerances}
    )
