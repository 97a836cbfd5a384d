"""Image files to pixels and back: untrusted files are opened here and nowhere else.

Pixels are uint8 arrays of shape (height, width, channels), channels 1 (grey) or 3 (RGB).
"""

import hashlib
import io
import threading
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from databoost.data.files import write_bytes
from databoost.errors import ImageError

Pixels = npt.NDArray[np.uint8]

#: Files with these endings are taken for images; all others in a source are listed as unreadable.
FORMATS = {
    "PNG": ".png",
    "JPEG": ".jpg",
    "BMP": ".bmp",
    "GIF": ".gif",
    "TIFF": ".tif",
    "WEBP": ".webp",
    "PPM": ".ppm",
}
#: Larger images are refused before they are decoded (a bomb, or nothing this tool is for).
MAX_PIXELS = 50_000_000


def image_id(content: bytes) -> str:
    """Name an image file: the first 16 hex digits of the SHA-256 of its bytes.

    >>> image_id(b"")
    'e3b0c44298fc1c14'
    """
    return hashlib.sha256(content).hexdigest()[:16]


def decode(content: bytes) -> Pixels:
    """Decode an image file.

    Palettes are resolved, transparency is laid over white, 16 bits become 8, the rotation noted
    by a camera is applied; of several frames the first counts.

    Returns
    -------
    numpy.ndarray
        uint8, (height, width, 1) if the file is grey, else (height, width, 3).

    Raises
    ------
    ImageError
        If the content is empty, is in none of `FORMATS`, is cut short, or exceeds `MAX_PIXELS`.
    """
    if not content:
        raise ImageError("the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=list(FORMATS)) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    raise ImageError(
                        f"the image has {width} x {height} pixels; at most {MAX_PIXELS:,} are read"
                    )
                return _pixels(ImageOps.exif_transpose(image))
    except ImageError:
        raise
    except UnidentifiedImageError:  # its own message holds a memory address
        raise ImageError(f"not an image: allowed are {', '.join(FORMATS)}") from None
    except Exception as error:  # Pillow's decoders raise almost anything on damaged files
        raise ImageError(f"not a readable image ({type(error).__name__}: {error})") from error


def file_ending(path: Path) -> str:
    """Usual ending of an image file of this format, ``.png`` say; reads the header alone.

    Raises
    ------
    ImageError
        If the file is in none of `FORMATS`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=list(FORMATS)) as image:
                # Pillow's name for a JPEG of several pictures, as phones and stereo cameras write.
                return FORMATS["JPEG" if image.format == "MPO" else image.format or ""]
    except UnidentifiedImageError:
        raise ImageError(f"{path}: not an image: allowed are {', '.join(FORMATS)}") from None
    except Exception as error:
        raise ImageError(f"{path}: not a readable image: {error}") from error


def read_image(path: Path) -> Pixels:
    """Decode an image file; see :func:`decode`.

    Raises
    ------
    ImageError
        If the file is missing or :func:`decode` refuses it; the message names the file.
    """
    try:
        return decode(path.read_bytes())
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}") from error
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error


class ImageFiles(Sequence[Pixels]):
    """Image files as pixels, decoded when they are asked for.

    Thousands of photos do not fit into memory, thousands of drawings do: the images asked for last
    stay decoded, as many of them as `memory` holds. Several threads may ask.

    Parameters
    ----------
    paths
        The files.
    memory
        Bytes of pixels that are kept; the default suits one pass.
    """

    def __init__(self, paths: Sequence[Path], memory: int = 0) -> None:
        self._paths = list(paths)
        self._memory, self._n_bytes = memory, 0
        self._kept: OrderedDict[Path, Pixels] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Count the files."""
        return len(self._paths)

    @overload
    def __getitem__(self, which: int) -> Pixels: ...
    @overload
    def __getitem__(self, which: slice) -> "ImageFiles": ...
    def __getitem__(self, which: int | slice) -> "Pixels | ImageFiles":
        """Decode an image, or give some of the files.

        Raises
        ------
        ImageError
            If the file is missing or no readable image.
        """
        if isinstance(which, slice):
            return ImageFiles(self._paths[which], self._memory)
        path = self._paths[which]
        with self._lock:
            if path in self._kept:
                self._kept.move_to_end(path)
                return self._kept[path]
        image = read_image(path)
        with self._lock:
            self._keep(path, image)
        return image

    def _keep(self, path: Path, image: Pixels) -> None:
        if image.nbytes > self._memory or path in self._kept:
            return
        self._kept[path] = image
        self._n_bytes += image.nbytes
        while self._n_bytes > self._memory:
            self._n_bytes -= self._kept.popitem(last=False)[1].nbytes


def encode_png(pixels: Pixels) -> bytes:
    """Encode pixels as a PNG file; same pixels, same bytes."""
    stream = io.BytesIO()
    grey = pixels.shape[2] == 1
    Image.fromarray(pixels[:, :, 0] if grey else pixels).save(stream, "PNG")
    return stream.getvalue()


def write_png(path: Path, pixels: Pixels) -> str:
    """Write pixels as a PNG file.

    Returns
    -------
    str
        The new file's image id.
    """
    content = encode_png(pixels)
    write_bytes(path, content)
    return image_id(content)


def _pixels(image: Image.Image) -> Pixels:
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float64)
        scale = 257.0 if image.mode != "F" and values.max(initial=0) > 255 else 1.0
        return np.clip(np.round(values / scale), 0, 255).astype(np.uint8)[:, :, None]
    if image.mode == "1":
        image = image.convert("L")
    if "A" in image.getbands() or "transparency" in image.info:
        opaque = Image.new("RGBA", image.size, "white")
        opaque.alpha_composite(image.convert("RGBA"))
        grey = image.mode in ("L", "LA", "La")
        image = opaque.convert("L" if grey else "RGB")
    if image.mode != "L":
        image = image.convert("RGB")
    pixels = np.array(image, dtype=np.uint8)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels
