"""Which images a model has seen: digests of those that it was trained on, in its artifact.

Another hospital's evaluation is worth nothing on images of the training, and folders share images more often than
their owners know: public collections hold each other. A digest shows nothing of an image, and nothing to who does not
have the very file. A copy that was stored anew has another.
"""

from pathlib import Path
from typing import Final

from app.artifact import EXTRA, Artifact
from training.manifest import Manifest
from training.splits import Split

SEEN: Final = f"{EXTRA}/seen.txt"

_DIGITS: Final = 16
"""Of a SHA-256: two of a million images share them with a probability of 3e-8."""


def write_seen(folder: Path, parts: Split) -> None:
    """Write a line for each image of train and validation, sorted."""
    digests = sorted({record.sha256[:_DIGITS] for record in (*parts.train, *parts.validation)})
    (folder / SEEN).write_text("".join(f"{digest}\n" for digest in digests), encoding="utf-8")


def count_seen(artifact: Artifact, manifest: Manifest) -> int:
    """Count the images of a folder that a model was trained on, or chosen by.

    Of an artifact without digests it is known only whether the folder is the same: then all count.
    """
    if SEEN not in artifact.metadata.files:
        return len(manifest.records) if manifest.digest == artifact.metadata.data_digest else 0
    seen = set((artifact.path / SEEN).read_text(encoding="utf-8").split())
    return sum(record.sha256[:_DIGITS] in seen for record in manifest.records)
