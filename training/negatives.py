"""Images that are no frontal chest radiographs, to measure an input gate with: none of them is used to fit it.

They are gathered from well-kept packages that are installed here, and drawn: a folder for each kind.
"""

import gzip
import tarfile
import textwrap
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from app.errors import UploadError
from app.imaging import DecodeLimits
from app.imaging.decode import decode

_SEED: Final = 2020
_PICTURES: Final = (".png", ".jpg", ".jpeg", ".gif", ".webp")
_LONGEST_SIDE: Final = 1024

_DRAWN: Final = 40
"""Images of each drawn kind."""

_SECTIONS: Final = DecodeLimits(modalities=("CT", "MR", "NM", "US", "RTDOSE", "OT", "XC", "SM", "SC"))
"""What pydicom's test files are of; the service refuses these modalities before its gate sees them."""

Named = Iterator[tuple[str, NDArray[np.uint8]]]
"""Names and images, uint8, of shape (H, W) or (H, W, 3)."""


def write_negatives(out: Path) -> dict[str, int]:
    """Write the images as PNG files, ``<kind>/<name>.png``.

    Args:
        out: A folder; other kinds in it stay.

    Returns:
        How many of each kind; none of a package that is not installed.
    """
    counts = {}
    for kind, images in KINDS.items():
        folder = out / kind
        folder.mkdir(parents=True, exist_ok=True)
        for counts[kind], (name, pixels) in enumerate(images(), start=1):
            Image.fromarray(pixels).save(folder / f"{name}.png")
    return counts


def _scikit_image() -> Named:
    """Photographs, textures, microscopy: what scikit-image's wheel holds."""
    for path in _files("skimage", "data", "*"):
        if path.suffix in _PICTURES:
            yield from _opened(path)
    for path in _files("skimage", "data", "lfw_subset.npy"):
        for number, face in enumerate(np.load(path, allow_pickle=False)[:100:5]):
            yield f"face-{number:02}", _to_uint8(face)


def _scikit_learn() -> Named:
    """Two photographs, and handwritten digits."""
    for path in _files("sklearn", "datasets/images", "*.jpg"):
        yield from _opened(path)
    from sklearn.datasets import load_digits

    for number, digit in enumerate(load_digits().images[:10]):
        yield f"digit-{number}", _to_uint8(digit)


def _matplotlib() -> Named:
    """A photograph, logos, a section through a head, two maps of heights."""
    for path in _files("matplotlib", "mpl-data/sample_data", "*"):
        if path.suffix in (".jpg", ".png"):
            yield from _opened(path)
        elif path.name == "s1045.ima.gz":
            yield "head-mr", _to_uint8(np.frombuffer(gzip.decompress(path.read_bytes()), ">u2").reshape(256, 256))
        elif path.name in ("jacksboro_fault_dem.npz", "topobathy.npz"):
            with np.load(path, allow_pickle=False) as arrays:
                yield path.stem, _to_uint8(arrays["elevation" if "elevation" in arrays else "topo"])


def _pydicom() -> Named:
    """CT, MR, ultrasound and other sections and pictures: each test file that decodes, equal ones once."""
    seen = set()
    for path in _files("pydicom", "data/test_files", "**/*"):
        if not path.is_file():
            continue
        try:
            pixels = decode(path.read_bytes(), _SECTIONS).pixels
        except UploadError:
            continue
        if pixels.tobytes() not in seen:
            seen.add(pixels.tobytes())
            yield path.stem.replace("+", "_"), pixels


def _nilearn() -> Named:
    """Sections through a head, MR, along each of its axes."""
    for path in _files("nilearn", "datasets/data", "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"):
        data = gzip.decompress(path.read_bytes())
        # NIfTI-1: the header's dim at byte 40, datatype 2 (uint8) at 70, vox_offset at 108.
        shape, start = np.frombuffer(data, "<i2", 3, 42), int(np.frombuffer(data, "<f4", 1, 108)[0])
        yield from _sections(np.frombuffer(data, np.uint8, int(np.prod(shape)), start).reshape(shape, order="F"))


def _invesalius() -> Named:
    """Sections through a head, CT, along each of its axes, and the head as a radiograph would show it."""
    for path in _found("/usr/share/doc/invesalius-examples/examples/Cranium.inv3"):
        with tarfile.open(path) as archive:
            (member,) = (member for member in archive if member.name.endswith("matrix.dat"))
            file = archive.extractfile(member)
            assert file
            volume = np.frombuffer(file.read(), "<i2").reshape(108, 256, 256)
        tissue = np.clip(volume.astype(np.float32) + 1000, 0, 3000)
        yield from _sections(np.clip(tissue, 800, 1300))
        for axis in (1, 2):
            yield f"radiograph-{axis}", _to_uint8(np.kron(tissue.sum(axis=axis)[::-1], np.ones((2, 1))))


def _sections(volume: NDArray[Any]) -> Named:
    for axis, name in enumerate("xyz"):
        size = volume.shape[axis]
        for index in np.linspace(0.2 * size, 0.8 * size, 12).astype(int):
            yield f"{name}-{index:03}", _to_uint8(np.rot90(volume.take(index, axis)))


def _tuxpaint() -> Named:
    """Cut-out photographs and drawings of animals, people, food and things, on white."""
    yield from _thinned(_found("/usr/share/tuxpaint/stamps"), 300)


def _backgrounds() -> Named:
    """Photographs and drawings that desktops show."""
    yield from _thinned(_found("/usr/share/backgrounds"), 100)


def _opencv() -> Named:
    """Photographs, scenes and test patterns."""
    yield from _thinned(_found("/usr/share/doc/opencv-doc/examples/data"), 100)


def _charts() -> Named:
    """Curves, bars and points, drawn by matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rng = np.random.default_rng(_SEED)
    for number in range(_DRAWN):
        figure = Figure(figsize=(4, 4), dpi=100)
        axes, x = figure.subplots(), np.arange(20)
        if number % 4 == 0:
            axes.plot(x, rng.normal(size=(20, 3)).cumsum(axis=0))
        elif number % 4 == 1:
            axes.bar(x, rng.uniform(1, 9, 20), color="0.4")
        elif number % 4 == 2:
            x, y = rng.normal(size=(2, 200))
            axes.scatter(x, y, s=rng.uniform(5, 80), color="black")
        else:
            axes.contourf(rng.normal(size=(8, 8)), levels=12, cmap="gray")
        axes.set_title(f"Figure {number}")
        canvas = FigureCanvasAgg(figure)
        canvas.draw()  # type: ignore[no-untyped-call]
        yield f"{number:02}", np.array(canvas.buffer_rgba())[..., :3]  # type: ignore[no-untyped-call]


def _pages() -> Named:
    """Pages of prose, dark on light or light on dark."""
    import matplotlib

    font = ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSerif.ttf")), 22)
    text = f"{__doc__} {Image.Image.__doc__} {np.ndarray.__doc__}"
    for number in range(_DRAWN):
        words = text.split()
        words = words[number % len(words) :] + words[: number % len(words)]
        page = Image.new("L", (900, 900 + 10 * number), color=250)
        draw = ImageDraw.Draw(page)
        draw.multiline_text((60, 60), "\n".join(textwrap.wrap(" ".join(words * 8), 60)[:30]), fill=10, font=font)
        pixels = np.asarray(page)
        yield f"{number:02}", 255 - pixels if number % 4 == 3 else pixels


def _speckle() -> Named:
    """Noise that grows with the signal, salt and pepper, counts, and coarse blocks of noise."""
    rng = np.random.default_rng(_SEED)
    for number in range(_DRAWN):
        y, x = np.mgrid[0:1:300j, 0:1:300j]
        signal = 100 + 80 * np.sin(rng.uniform(0, 9) * x + rng.uniform(0, 9) * y)
        if number % 4 == 0:
            image = signal * rng.gamma(2, 0.5, signal.shape)
        elif number % 4 == 1:
            image = np.where(rng.random(signal.shape) < 0.1, 255 * rng.integers(0, 2, signal.shape), signal)
        elif number % 4 == 2:
            image = rng.poisson(signal / 20) * 20
        else:
            side = int(rng.integers(5, 40))
            image = np.kron(rng.uniform(0, 255, (-(-300 // side),) * 2), np.ones((side, side)))
        yield f"{number:02}", np.clip(image, 0, 255).astype(np.uint8)


def _shades() -> Named:
    """Gradients in steps, in corners and around a point, and vignettes."""
    rng = np.random.default_rng(_SEED)
    for number in range(_DRAWN):
        y, x = np.mgrid[-1:1:300j, -1:1:300j]
        if number % 4 == 0:
            image = np.floor(8 * (x * rng.uniform(-1, 1) + y * rng.uniform(-1, 1))) / 8
        elif number % 4 == 1:
            image = x * y + rng.uniform(-1, 1) * x
        elif number % 4 == 2:
            image = np.arctan2(y - rng.uniform(-0.5, 0.5), x - rng.uniform(-0.5, 0.5))
        else:
            image = np.exp(-((x / rng.uniform(0.3, 1)) ** 2) - (y / rng.uniform(0.3, 1)) ** 2)
        yield f"{number:02}", _to_uint8(image)


def _fractals() -> Named:
    """Julia sets: shapes and textures that nobody drew."""
    rng = np.random.default_rng(_SEED)
    for number in range(_DRAWN):
        constant = 0.7885 * np.exp(1j * rng.uniform(0, 2 * np.pi))
        y, x = np.mgrid[-1.4:1.4:300j, -1.4:1.4:300j]
        z, steps = x + 1j * y, np.zeros(x.shape)
        for _ in range(60):
            inside = np.abs(z) < 4
            z[inside] = z[inside] ** 2 + constant
            steps += inside
        yield f"{number:02}", _to_uint8(np.log1p(steps))


KINDS: Final[dict[str, Callable[[], Named]]] = {
    "scikit-image": _scikit_image,
    "scikit-learn": _scikit_learn,
    "matplotlib": _matplotlib,
    "pydicom": _pydicom,
    "nilearn": _nilearn,
    "invesalius-examples": _invesalius,
    "tuxpaint-stamps-default": _tuxpaint,
    "backgrounds": _backgrounds,
    "opencv-doc": _opencv,
    "charts": _charts,
    "pages": _pages,
    "speckle": _speckle,
    "shades": _shades,
    "fractals": _fractals,
}


def _files(package: str, folder: str, pattern: str) -> Iterator[Path]:
    """List the files of an installed package; none where it is not installed."""
    spec = find_spec(package)
    for place in (spec and spec.submodule_search_locations) or ():
        yield from sorted(Path(place, folder).glob(pattern))


def _found(place: str) -> Iterator[Path]:
    """List the files that a Debian package has put somewhere; none where it is not installed."""
    path = Path(place)
    yield from sorted(path.rglob("*")) if path.is_dir() else [path] * path.exists()


def _thinned(paths: Iterator[Path], most: int) -> Named:
    """Open so many pictures at most, evenly from all."""
    pictures = [path for path in paths if path.suffix in _PICTURES]
    for index in np.unique(np.linspace(0, max(len(pictures) - 1, 0), most).astype(int)):
        for name, pixels in _opened(pictures[index]) if pictures else ():
            yield f"{pictures[index].parent.name}-{name}", pixels


def _opened(path: Path) -> Named:
    with Image.open(path) as image:
        image.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
        rgba = image.convert("RGBA")
        on_white = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
        grey = image.mode in ("1", "L", "LA", "I", "I;16", "F")
        yield path.stem, np.asarray(on_white.convert("L" if grey else "RGB"))


def _to_uint8(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Spread values over all grey levels."""
    low, high = float(values.min()), float(values.max())
    return np.rint((values - low) / ((high - low) or 1) * 255).astype(np.uint8)
