"""Who exported a model: an Ed25519 signature of its ``metadata.json``, and so of every file that this lists.

A signature is the 64 bytes of RFC 8032 over the file's bytes as they are, which `openssl pkeyutl -rawin` makes and
verifies, too. The package `cryptography` is imported only where one is.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from app.errors import ArtifactError, SettingError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_WHERE_KEYS_COME_FROM = "README has the commands that make a pair of keys."


def check_signature(signed: bytes, signature: Path, public_key: Path) -> None:
    """Check that a signature is that of some bytes by the holder of a key.

    Args:
        signed: What was signed.
        signature: Its file.
        public_key: Ed25519, PEM.

    Raises:
        SettingError: The public key cannot be used.
        ArtifactError: The signature is missing, or is another's or of something else.
    """
    key = _public_key(public_key)
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature.read_bytes(), signed)
    except OSError as error:
        raise ArtifactError(
            f"{signature} cannot be read ({error.strerror}), and CXR_MODEL_PUBLIC_KEY asks for a signed model. "
            "Sign it with 'python -m training sign', or take a model that is signed."
        ) from error
    except InvalidSignature as error:
        raise ArtifactError(
            f"{signature} is not the signature of {signature.with_suffix('').name} by the key in {public_key}. "
            "The model is another's, or was changed since: do not serve it before you know which."
        ) from error


def sign(data: bytes, private_key: bytes) -> bytes:
    """Sign bytes.

    Args:
        data: What to sign.
        private_key: Ed25519, PEM (PKCS #8), without a passphrase.

    Raises:
        ValueError: It is no such key.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(private_key, password=None)
    except TypeError as error:  # It has a passphrase.
        raise ValueError(str(error)) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("it is of another kind")
    return key.sign(data)


def _public_key(path: Path) -> "Ed25519PublicKey":
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError as error:
        raise SettingError("CXR_MODEL_PUBLIC_KEY needs the package 'cryptography', which is not installed.") from error
    try:
        key = load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise SettingError(f"CXR_MODEL_PUBLIC_KEY {path} cannot be read ({error.strerror}).") from error
    except ValueError:
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise SettingError(f"CXR_MODEL_PUBLIC_KEY {path} is not an Ed25519 public key in PEM. {_WHERE_KEYS_COME_FROM}")
    return key
