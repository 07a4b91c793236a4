"""Nothing that is read can bring code along: no pickle, no eval, no layers with Python in them.

Models are read as SavedModel, weights as HDF5, arrays as ``.npy`` and ``.npz``, and PyTorch's weights, which are
pickled, by an unpickler that makes three kinds of things and calls nothing else. Of these a SavedModel alone is a
program, in the operations of its framework: `CXR_MODEL_PUBLIC_KEY` says whose is run.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.app.server import ROOT

SOURCES: Final = sorted(path for folder in ("app", "training") for path in (ROOT / folder).rglob("*.py"))
MODULES: Final = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "code", "codeop"}
CALLS: Final = {"eval", "exec", "compile", "__import__"}
METHODS: Final = {
    "enable_unsafe_deserialization", "load_model", "model_from_json", "model_from_config", "deserialize_keras_object",
    "Lambda", "unsafe_load", "full_load", "read_pickle",
}  # fmt: skip
KEYWORDS: Final = {("allow_pickle", True), ("safe_mode", False), ("weights_only", False), ("shell", True)}


def findings(source: str) -> Iterator[str]:
    """Name what could run what was read."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            yield from (name for name in names if name.split(".")[0] in MODULES)
            yield from (name for name in names if name in METHODS)
        elif isinstance(node, ast.Call):
            yield from _call(node)


def _call(node: ast.Call) -> Iterator[str]:
    name = getattr(node.func, "id", None) or getattr(node.func, "attr", "")
    if (isinstance(node.func, ast.Name) and name in CALLS) or name in METHODS:
        yield name
    given = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
    yield from (f"{word}={value}" for word, value in given.items() if (word, value) in KEYWORDS)
    is_numpys = isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", "") in ("np", "numpy")
    if name == "load" and is_numpys and given.get("allow_pickle") is not False:
        yield "np.load without allow_pickle=False"


EXCEPTIONS: Final = {"training/torch_weights.py": ["pickle"]}
"""Where ``find_class`` refuses what is not expected; ``tests/training/test_efficientnet_lite.py`` tries."""


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_source_runs_nothing_that_it_reads(path: Path) -> None:
    expected = EXCEPTIONS.get(path.relative_to(ROOT).as_posix(), [])
    assert list(findings(path.read_text(encoding="utf-8"))) == expected


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from pickle import loads", "import joblib.numpy_pickle", "import numpy, dill",
        "eval(text)", "exec(text)", "compile(text, '', 'exec')", "__import__(name)",
        "np.load(path)", "np.load(path, allow_pickle=True)", "numpy.load(path)",
        "keras.saving.load_model(path)", "keras.models.load_model(path, safe_mode=False)",
        "from keras.models import load_model",
        "keras.config.enable_unsafe_deserialization()", "keras.layers.Lambda(f)", "load(path, weights_only=False)",
        "subprocess.run(text, shell=True)", "yaml.unsafe_load(text)",
    ],
)  # fmt: skip
def test_scan_finds(source: str) -> None:
    assert list(findings(source))


@pytest.mark.parametrize(
    "source", ["np.load(path, allow_pickle=False)", "re.compile(x)", "model.eval()", "json.load(f)"]
)
def test_scan_lets_pass(source: str) -> None:
    assert not list(findings(source))
