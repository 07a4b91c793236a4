"""Sign an exported model, for services that ask for it."""

from pathlib import Path

from app.artifact import METADATA, SIGNATURE, open_artifact
from app.errors import TrainingError
from app.signature import sign
from training.atomic import replacing


def sign_artifact(model: Path, private_key: Path) -> Path:
    """Verify an exported model and sign it; what it was signed with before is replaced.

    Args:
        model: ``models/<name>/<version>``, or ``models/<name>`` for its highest version.
        private_key: Ed25519, PEM (PKCS #8), without a passphrase.

    Returns:
        The signature's file.

    Raises:
        ArtifactError: The model is missing or damaged.
        TrainingError: The key cannot be used.
    """
    folder = open_artifact(model).path
    try:
        signature = sign((folder / METADATA).read_bytes(), private_key.read_bytes())
    except ValueError as error:
        raise TrainingError(
            f"{private_key} is not an Ed25519 private key in PEM without a passphrase ({error}). "
            "Make one: openssl genpkey -algorithm ed25519 -out private.pem"
        ) from error
    with replacing(folder / SIGNATURE) as file:
        file.write(signature)
    return folder / SIGNATURE
