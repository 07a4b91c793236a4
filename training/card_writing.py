"""Write an artifact's card, and write it again with what was measured after the export."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.artifact import METADATA, MODEL_CARD, SIGNATURE, Artifact, Metadata, file_digests, open_artifact
from app.errors import TrainingError
from training.card import model_card
from training.card_facts import FACTS, CardFacts, read_facts


def write_card(folder: Path, metadata: Metadata, facts: CardFacts) -> None:
    """Write the card, the facts behind it, and the metadata that list both.

    Args:
        folder: Of the artifact.
        metadata: With metrics and threshold.
        facts: Of its training and data.
    """
    (folder / FACTS).write_text(facts.model_dump_json(indent=1) + "\n", encoding="utf-8")
    (folder / MODEL_CARD).write_text(model_card(metadata, facts), encoding="utf-8")
    write_metadata(folder, metadata)


def write_metadata(folder: Path, metadata: Metadata) -> None:
    """Write ``metadata.json`` with the digests of the files that are there."""
    listed = metadata.model_copy(update={"files": file_digests(folder)})
    (folder / METADATA).write_text(listed.model_dump_json(indent=1) + "\n", encoding="utf-8")


def rewrite_card(model: Path, measured: Mapping[str, dict[str, Any]]) -> Artifact:
    """Write the card of an exported model again, with measurements that were made since.

    Graph and weights stay as they are. The digest of the artifact changes, and a signature is removed, since it is
    another's. The folder is replaced by a finished one: a service that starts at the same moment may find none,
    never a damaged one.

    Args:
        model: ``models/<name>/<version>``, or ``models/<name>`` for its highest version.
        measured: By the names in ``card_facts.LATER``; what is not given stays as it was.

    Returns:
        The artifact as it is now.

    Raises:
        ArtifactError: The model is missing or damaged.
        TrainingError: The artifact has no facts to write a card from, a measurement says that it is of another model,
            or a folder of an earlier try is in the way.
    """
    artifact = open_artifact(model)
    _check_identity(artifact, measured)
    facts = read_facts(artifact.path).model_copy(update=dict(measured))
    partial, earlier = (artifact.path.with_name(f".{artifact.path.name}.{what}") for what in ("partial", "earlier"))
    if earlier.exists():
        raise TrainingError(f"{earlier} is left of an earlier try. Look into it, move it away, and try again.")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        shutil.copytree(artifact.path, partial)
        (partial / SIGNATURE).unlink(missing_ok=True)
        write_card(partial, artifact.metadata, facts)
        open_artifact(partial)
        artifact.path.rename(earlier)
        partial.rename(artifact.path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)  # Nothing is there any more once it has its name.
    shutil.rmtree(earlier)
    return open_artifact(artifact.path)


def _check_identity(artifact: Artifact, measured: Mapping[str, dict[str, Any]]) -> None:
    """Refuse what names another model or other data; a digest may be an earlier card's and is not compared."""
    metadata = artifact.metadata
    both = f"{metadata.name}/{metadata.version}"
    ours = {"model": (metadata.name, both), "version": (metadata.version,), "data_digest": (metadata.data_digest,)}
    for name, of in measured.items():
        wrong = [
            f"{field} {of[field]} and not {values[-1]}"
            for field, values in ours.items()
            if field in of and of[field] not in values
        ]
        if wrong:
            raise TrainingError(f"The {name} is of another model than {artifact.path}: it has {', '.join(wrong)}.")
