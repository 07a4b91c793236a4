"""A service that is told a public key serves the models of its holder, and no others."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from typer.testing import CliRunner

from app.artifact import METADATA, SIGNATURE, Artifact, file_digests, open_artifact
from app.errors import ArtifactError, SettingError
from tests.app.fakes import write_artifact
from tests.app.server import ROOT, Server, refused
from training.__main__ import app as training

NO_CRYPTOGRAPHY: Final = "import sys; sys.modules['cryptography'] = None"


class Keys:
    """A pair of keys.

    Attributes:
        private, public: PEM.
    """

    def __init__(self, folder: Path, private: ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey | None = None) -> None:
        folder.mkdir()
        self.key = private or ed25519.Ed25519PrivateKey.generate()
        self.private, self.public = folder / "private.pem", folder / "public.pem"
        self.private.write_bytes(self.pem(NoEncryption()))
        public = self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self.public.write_bytes(public)

    def pem(self, encryption: KeySerializationEncryption) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def rsa_keys(folder: Path) -> Keys:
    return Keys(folder, rsa.generate_private_key(65537, 2048))


def sign(folder: Path, key: Path) -> str:
    result = CliRunner().invoke(training, ["sign", "--model", str(folder), "--key", str(key)])
    assert result.exit_code == 0, result.stderr
    return result.stdout.strip()


def tamper(folder: Path) -> None:
    """Lower the threshold, in what is else a valid folder."""
    metadata = json.loads((folder / METADATA).read_text())
    replace(folder / METADATA, json.dumps({**metadata, "threshold": 0.01}).encode())


def exchange_weights(folder: Path) -> None:
    """Put other weights there, with metadata that list their digest."""
    weights = next((folder / "variables").glob("*data*"))
    replace(weights, bytes(1001))
    metadata = json.loads((folder / METADATA).read_text())
    replace(folder / METADATA, json.dumps({**metadata, "files": file_digests(folder)}).encode())


def replace(path: Path, data: bytes) -> None:
    path.unlink()
    path.write_bytes(data)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("pair") / "ours")


@pytest.fixture
def signed(tmp_path: Path, keys: Keys) -> Path:
    """A small model's folder, signed."""
    folder = write_artifact(tmp_path / "fake" / "1")
    sign(folder, keys.private)
    return folder


def test_signed_model_is_opened(signed: Path, keys: Keys) -> None:
    assert open_artifact(signed, keys.public).metadata.name == "fake"
    assert open_artifact(signed).metadata.name == "fake", "without the setting a signature is no matter"
    assert sign(signed.parent, keys.private) == str(signed / SIGNATURE), "it is signed anew, and by the model's name"


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is missing; Debian: apt-get install openssl")
def test_openssl_makes_the_same_keys_and_signatures(tmp_path: Path) -> None:
    """By the commands of the README."""
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"
    openssl("genpkey", "-algorithm", "ed25519", "-out", private)
    openssl("pkey", "-in", private, "-pubout", "-out", public)
    folder = write_artifact(tmp_path / "fake" / "1")
    sign(folder, private)
    what = ("-rawin", "-in", folder / METADATA)
    openssl("pkeyutl", "-verify", "-pubin", "-inkey", public, *what, "-sigfile", folder / SIGNATURE)
    ours = (folder / SIGNATURE).read_bytes()
    (folder / SIGNATURE).unlink()
    openssl("pkeyutl", "-sign", "-inkey", private, *what, "-out", folder / SIGNATURE)
    assert (folder / SIGNATURE).read_bytes() == ours
    open_artifact(folder, public)


def openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


@pytest.mark.parametrize("spoil", [tamper, exchange_weights])
def test_changed_model_is_refused(signed: Path, keys: Keys, spoil) -> None:
    spoil(signed)
    assert open_artifact(signed), "its digests agree with each other"
    with pytest.raises(ArtifactError, match=r"is not the signature of metadata\.json by the key in") as refusal:
        open_artifact(signed, keys.public)
    assert str(signed / SIGNATURE) in str(refusal.value)


def test_model_of_another_is_refused(signed: Path, tmp_path: Path) -> None:
    others = Keys(tmp_path / "others")
    with pytest.raises(ArtifactError, match=f"by the key in {others.public}"):
        open_artifact(signed, others.public)


@pytest.mark.parametrize("content", [b"", b"rubbish", bytes(64), bytes(100_000)])
def test_rubbish_is_no_signature(signed: Path, keys: Keys, content: bytes) -> None:
    (signed / SIGNATURE).write_bytes(content)
    with pytest.raises(ArtifactError, match="is not the signature"):
        open_artifact(signed, keys.public)


def test_missing_signature_is_named(signed: Path, keys: Keys) -> None:
    (signed / SIGNATURE).unlink()
    with pytest.raises(ArtifactError, match=r"cannot be read.*asks for a signed model") as refusal:
        open_artifact(signed, keys.public)
    assert str(signed / SIGNATURE) in str(refusal.value)


@pytest.mark.parametrize("name", ["assets.extra/other.sig", "metadata.json.sig", "assets.extra/metadata.json.sig.sig"])
def test_no_other_file_may_lie_there(signed: Path, name: str) -> None:
    shutil.copy(signed / SIGNATURE, signed / name)
    with pytest.raises(ArtifactError, match="is not listed"):
        open_artifact(signed)


def unusable(kind: str, keys: Keys, folder: Path) -> Path:
    if kind == "RSA":
        return rsa_keys(folder / "rsa").public
    path = folder / "key.pem"
    if kind != "missing":
        path.write_bytes({"private": keys.private.read_bytes(), "rubbish": b"rubbish", "empty": b""}[kind])
    return path


@pytest.mark.parametrize("kind", ["missing", "private", "rubbish", "empty", "RSA"])
def test_unusable_public_key_is_named(signed: Path, keys: Keys, tmp_path: Path, kind: str) -> None:
    path = unusable(kind, keys, tmp_path)
    words = "cannot be read" if kind == "missing" else "is not an Ed25519 public key in PEM"
    with pytest.raises(SettingError, match=f"CXR_MODEL_PUBLIC_KEY {path} {words}"):
        open_artifact(signed, path)


def encrypted(keys: Keys, folder: Path) -> Path:
    path = folder / "encrypted.pem"
    path.write_bytes(keys.pem(BestAvailableEncryption(b"word")))
    return path


@pytest.mark.parametrize("kind", ["public", "RSA", "encrypted", "missing"])
def test_unusable_private_key_is_named(signed: Path, keys: Keys, tmp_path: Path, kind: str) -> None:
    paths = {
        "public": lambda: keys.public,
        "RSA": lambda: rsa_keys(tmp_path / "rsa").private,
        "encrypted": lambda: encrypted(keys, tmp_path),
        "missing": lambda: tmp_path / "none.pem",
    }
    before = (signed / SIGNATURE).read_bytes()
    path = paths[kind]()
    result = CliRunner().invoke(training, ["sign", "--model", str(signed), "--key", str(path)])
    assert result.exit_code == 1
    assert str(path) in result.stderr
    assert (signed / SIGNATURE).read_bytes() == before


def test_damaged_model_is_not_signed(signed: Path, keys: Keys) -> None:
    (signed / "saved_model.pb").write_bytes(b"another graph")
    result = CliRunner().invoke(training, ["sign", "--model", str(signed), "--key", str(keys.private)])
    assert result.exit_code == 1
    assert "saved_model.pb is damaged" in result.stderr


def test_cryptography_is_loaded_only_where_a_signature_is_asked_for(signed: Path) -> None:
    code = (
        f"{NO_CRYPTOGRAPHY}\nfrom pathlib import Path\nfrom app.artifact import open_artifact\n"
        f"open_artifact(Path({str(signed)!r}))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


# ---------------------------------------------------------- the real service ----


@pytest.fixture
def copy(shipped: Artifact, tmp_path: Path, keys: Keys) -> Path:
    """A signed copy of the shipped model whose files are links: to be replaced, never written to."""
    folder = tmp_path / "copy" / str(shipped.metadata.version)
    shutil.copytree(shipped.path.resolve(), folder, copy_function=os.symlink)
    sign(folder, keys.private)
    return folder


def test_service_serves_a_signed_model(copy: Path, keys: Keys, cache_dir: Path) -> None:
    with Server(model=copy, model_public_key=keys.public, cache_dir=cache_dir) as server:
        assert server.client.get("/readyz").status_code == 200


def spoil_nothing(folder: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("spoil", "key", "code", "words"),
    [
        (lambda folder: (folder / SIGNATURE).unlink(), "ours", 1, "cannot be read (No such file or directory)"),
        (tamper, "ours", 1, "is not the signature of metadata.json"),
        (spoil_nothing, "others", 1, "is not the signature of metadata.json"),
        (spoil_nothing, "none", 2, "CXR_MODEL_PUBLIC_KEY"),
    ],
    ids=["missing", "tampered", "of another", "no key"],
)
def test_service_refuses_to_start_with_any_other(
    copy: Path, keys: Keys, tmp_path: Path, spoil, key: str, code: int, words: str
) -> None:
    spoil(copy)
    public = {
        "ours": lambda: keys.public,
        "others": lambda: Keys(tmp_path / "o").public,
        "none": lambda: tmp_path / "n",
    }
    end = refused(model=copy, model_public_key=public[key]())
    assert (end.returncode, end.stdout) == (code, "")
    assert words in end.stderr
    assert "Traceback" not in end.stderr
    assert (code == 2) or str(copy / SIGNATURE) in end.stderr


def test_service_without_cryptography_says_so(copy: Path, keys: Keys) -> None:
    end = refused(NO_CRYPTOGRAPHY, model=copy, model_public_key=keys.public)
    assert end.returncode == 2
    assert "needs the package 'cryptography'" in end.stderr
