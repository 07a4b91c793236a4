"""A probe's files: ``probe.md``, ``probe.json`` and ``altered.png``."""

from pathlib import Path
from typing import Final

from training.probe.figure import draw_altered, made_up_square
from training.probe.measure import Probed
from training.probe.text import probe_text

_FIGURE: Final = "altered.png"


def write_probe(probed: Probed, out: Path, *, public: bool = False) -> Path:
    """Write what was measured.

    Args:
        probed: The figures, and the images.
        out: Folder; made if missing. Files of an earlier probe in it are replaced.
        public: Show a made-up square instead of a radiograph.

    Returns:
        ``probe.md``.
    """
    square = made_up_square() if public else probed.squares[0]
    draw_altered(square, probed.alterations, out / _FIGURE)
    (out / "probe.json").write_text(probed.measures.model_dump_json(indent=1) + "\n", encoding="utf-8")
    page = out / "probe.md"
    page.write_text(probe_text(probed.measures, _FIGURE, made_up=public), encoding="utf-8")
    return page
