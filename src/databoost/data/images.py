"""Image files to pixels and back: untrusted files are opened here and nowhere else.

Pixels are uint8 arrays of shape (height, width, channels), channels 1 (grey) or 3 (RGB).
"""

import hashlib
import io
import os
import threading
import warnings
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from copy import copy
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
# What Pillow finds odd about a file that it reads nobody can mend here, and `MAX_PIXELS` guards
# against bombs. Once, since to change filters and back is not for threads.
warnings.filterwarnings("ignore", module=r"PIL\.")
#: Bytes of pixels from which on a part of a stream of images is given out, full or not.
PART_BYTES = 2**28
# Images that a thread decodes in one go, and how many threads do: a drawing is decoded sooner than
# a thread is woken, but of large photos each is enough for a go, since they wait in memory.
# No size is known before it is decoded: a go ends early where the photos turn out large.
_AT_ONCE = 8
_BYTES_AT_ONCE = 2**25
_N_THREADS = min(os.cpu_count() or 1, 4)


def image_id(content: bytes) -> str:
    """Name an image file: the first 16 hex digits of the SHA-256 of its bytes.

    >>> image_id(b"")
    'e3b0c44298fc1c14'
    """
    return hashlib.sha256(content).hexdigest()[:16]


def decode(content: bytes) -> Pixels:
    """Decode an image file.

    Palettes are resolved, transparency is laid over white, the rotation noted by a camera is
    applied, unless the note can't be read; of several frames the first counts.

    Samples of 16 bits become 8 by the full range, 65535 is white: a file whose values stop at 255
    or 4095 comes out as dark as it says it is. Where a file does not say its range, it is guessed
    from its largest value: whole numbers of 32 bits, or with a sign, are those of 8 bits up to
    255, else those of 16; floats reach from 0 to 1 if none is larger, else to 255. What lies
    outside becomes black or white.

    Returns
    -------
    numpy.ndarray
        uint8, (height, width, 1) if the file is grey, else (height, width, 3).

    Raises
    ------
    ImageError
        If the content is empty, is in none of `FORMATS`, is cut short, exceeds `MAX_PIXELS`, or
        holds NaN or infinity.
    """
    if not content:
        raise ImageError("the file is empty")
    try:
        with Image.open(io.BytesIO(content), formats=list(FORMATS)) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise ImageError(
                    f"the image has {width} x {height} pixels; at most {MAX_PIXELS:,} are read"
                )
            is_full = image.mode.startswith("I;16") or image.format == "PPM"
            image.load()
            # Damaged notes raise almost anything. In place the pixels are turned before the notes
            # are written anew, which most damage breaks off.
            with suppress(Exception):
                ImageOps.exif_transpose(image, in_place=True)
            return _pixels(image, is_full)
    except ImageError:
        raise
    except UnidentifiedImageError:  # its own message holds a memory address
        raise ImageError(f"not an image: allowed are {', '.join(FORMATS)}") from None
    except Exception as error:  # Pillow's decoders raise almost anything on damaged files
        raise ImageError(f"not a readable image ({type(error).__name__}: {error})") from error


def file_ending(path: Path, content: bytes) -> str:
    """Usual ending of an image file of this format, ``.png`` say; looks at the header alone.

    Parameters
    ----------
    path
        Names the file where it is refused; it is not opened.
    content
        The file's bytes.

    Raises
    ------
    ImageError
        If the file is in none of `FORMATS`.
    """
    try:
        with Image.open(io.BytesIO(content), formats=list(FORMATS)) as image:
            # Pillow's name for a JPEG of several pictures, as phones and stereo cameras write.
            return FORMATS["JPEG" if image.format == "MPO" else image.format or ""]
    except UnidentifiedImageError:
        raise ImageError(f"{path}: not an image: allowed are {', '.join(FORMATS)}") from None
    except Exception as error:
        raise ImageError(f"{path}: not a readable image: {error}") from error


def read_image(path: Path, seen: Callable[[Path, bytes], object] | None = None) -> Pixels:
    """Decode an image file; see :func:`decode`.

    Parameters
    ----------
    seen
        Is told the path and the bytes.

    Raises
    ------
    ImageError
        If the file is missing or :func:`decode` refuses it; the message names the file.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}") from error
    if seen is not None:
        seen(path, content)
    try:
        return decode(content)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error


class ImageFiles(Sequence[Pixels]):
    """Image files as pixels, decoded when they are asked for, or ahead of a loop over them.

    Thousands of photos do not fit into memory, thousands of drawings do: the images asked for last
    stay decoded, as many of them as `memory` holds, for slices too. Several threads may ask.

    Parameters
    ----------
    files
        Paths; where there are none, what the files would hold.
    memory
        Bytes of pixels that are kept; the default suits one pass.
    seen
        Is told the path and the bytes of every file that is read, maybe by several threads at
        once: who needs them does not read the file again.
    """

    def __init__(
        self,
        files: Sequence[Path | bytes],
        memory: int = 0,
        seen: Callable[[Path, bytes], object] | None = None,
    ) -> None:
        self._files = list(files)
        self._places = range(len(self._files))
        self._kept = _Kept(memory)
        self._seen = seen

    def __len__(self) -> int:
        """Count the files."""
        return len(self._places)

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
            some = copy(self)
            some._places = self._places[which]
            return some
        place = self._places[which]
        image = self._kept.get(place)
        if image is None:
            image = self._decode(self._files[place])
            self._kept.put(place, image)
        return image

    def __iter__(self) -> Iterator[Pixels]:
        """Yield the images in order; threads decode the next few meanwhile.

        Beside what the caller keeps, at most ``_N_THREADS + 1`` goes are in memory, each of less
        than ``_BYTES_AT_ONCE`` bytes and one image more, whatever the order of the sizes.
        """
        if len(self) <= _AT_ONCE or _N_THREADS == 1:
            yield from (self[number] for number in range(len(self)))
            return
        waiting: deque[tuple[range, Future[list[Pixels]]]] = deque()
        numbers, left = range(len(self)), range(0)
        n = 1
        with ThreadPoolExecutor(_N_THREADS, "images") as pool:
            try:
                while numbers or left or waiting:
                    if left:  # the next to be given out, for which the others wait
                        waiting.appendleft((left, pool.submit(self._some, left)))
                        left = range(0)
                    while numbers and len(waiting) <= _N_THREADS:
                        some, numbers = numbers[:n], numbers[n:]
                        waiting.append((some, pool.submit(self._some, some)))
                    some, future = waiting.popleft()
                    images = future.result()
                    left = some[len(images) :]
                    largest = max(1, *(image.nbytes for image in images))
                    # At most twice as many as last time: where sizes mix, few goes end early.
                    n = max(1, min(2 * n, _AT_ONCE, _BYTES_AT_ONCE // largest))
                    yield from images
                    del images, future
            finally:
                for _, future in waiting:
                    future.cancel()

    def parts(self, n: int, n_bytes: int = PART_BYTES) -> Iterator[list[Pixels]]:
        """Yield the images in order, `n` at a time or as few as have `n_bytes` bytes of pixels.

        So a part has less than `n_bytes` and one image more; the last one has what is left.
        """
        part: list[Pixels] = []
        size = 0
        for image in self:
            part.append(image)
            size += image.nbytes
            if len(part) == n or size >= n_bytes:
                yield part
                part, size = [], 0
        if part:
            yield part

    def _some(self, numbers: range) -> list[Pixels]:
        """Decode the first of these images, as many as fill the memory of a go."""
        images: list[Pixels] = []
        n_bytes = 0
        for number in numbers:
            images.append(self[number])
            n_bytes += images[-1].nbytes
            if n_bytes >= _BYTES_AT_ONCE:
                break
        return images

    def _decode(self, file: Path | bytes) -> Pixels:
        if isinstance(file, bytes):
            return decode(file)
        return read_image(file, self._seen)


class _Kept:
    """The decoded images that were asked for last, as many as fit into `memory` bytes."""

    def __init__(self, memory: int) -> None:
        self._memory, self._n_bytes = memory, 0
        self._images: OrderedDict[int, Pixels] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, place: int) -> Pixels | None:
        with self._lock:
            if place in self._images:
                self._images.move_to_end(place)
            return self._images.get(place)

    def put(self, place: int, image: Pixels) -> None:
        with self._lock:
            if image.nbytes > self._memory or place in self._images:
                return
            self._images[place] = image
            self._n_bytes += image.nbytes
            while self._n_bytes > self._memory:
                self._n_bytes -= self._images.popitem(last=False)[1].nbytes


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


def _pixels(image: Image.Image, is_full: bool) -> Pixels:
    """Give the pixels; `is_full`: whole numbers of more than 8 bits have all of 16."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float64)
        if not np.isfinite(values).all():
            raise ImageError(
                "the image holds NaN or infinity, which is no shade of grey; replace such values"
            )
        largest = values.max(initial=0)
        if image.mode == "F":
            scale = 1 / 255 if largest <= 1 else 1.0
        else:
            scale = 257.0 if is_full or largest > 255 else 1.0
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
