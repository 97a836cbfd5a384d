"""Image files of every sort to pixels, and pixels to PNG files."""

import io
import struct
import threading
import warnings
import weakref
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from databoost.data import images
from databoost.data.images import (
    FORMATS,
    ImageFiles,
    decode,
    encode_png,
    file_ending,
    image_id,
    read_image,
    write_png,
)
from databoost.errors import ImageError

GREY = np.array([[0, 100, 200], [255, 7, 1]], dtype=np.uint8)
COLOURS = np.array(
    [[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[1, 2, 3], [9, 9, 9], [250, 128, 0]]],
    dtype=np.uint8,
)
NOISE = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
LOSSLESS = sorted(set(FORMATS) - {"JPEG"})


def saved(image: Image.Image, file_format: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def encoded(pixels: np.ndarray, file_format: str) -> bytes:
    lossless = {"lossless": True} if file_format == "WEBP" else {}
    return saved(Image.fromarray(pixels), file_format, **lossless)


def png(
    width: int, height: int, depth: int, colour_type: int, rows: bytes, **chunks: bytes
) -> bytes:
    """Write a PNG file by hand, for what Pillow can't write."""

    def chunk(name: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + body))
        return struct.pack(">I", len(body)) + name + body + check

    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    between = b"".join(chunk(name.encode(), body) for name, body in chunks.items())
    body = chunk(b"IHDR", header) + between + chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


@pytest.mark.parametrize("file_format", LOSSLESS)
def test_colours_come_back_exactly(file_format: str) -> None:
    pixels = decode(encoded(COLOURS, file_format))
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, COLOURS)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "PPM", "BMP"])
def test_grey_stays_one_channel(file_format: str) -> None:
    np.testing.assert_array_equal(decode(encoded(GREY, file_format)), GREY[:, :, None])


def test_jpeg_comes_close() -> None:
    flat = np.full((16, 16, 3), (200, 30, 90), dtype=np.uint8)
    pixels = decode(encoded(flat, "JPEG")).astype(int)
    assert np.abs(pixels - flat).max() <= 3
    grey = decode(saved(Image.new("L", (16, 8), 77), "JPEG"))
    np.testing.assert_array_equal(grey, np.full((8, 16, 1), 77))
    assert decode(saved(Image.new("CMYK", (5, 4)), "JPEG")).shape == (4, 5, 3)


def test_sixteen_bits_become_eight() -> None:
    values = np.array([[0, 65535, 257, 32768]], dtype=np.uint16)
    expected = [[[0], [255], [1], [128]]]
    assert decode(saved(Image.fromarray(values))).tolist() == expected
    assert decode(saved(Image.fromarray(values), "TIFF")).tolist() == expected
    pgm = b"P5 4 1 65535\n" + values.astype(">u2").tobytes()
    assert decode(pgm).tolist() == expected
    # Colours: each row is a filter byte, then three big-endian values a pixel.
    rows = b"\0" + np.array([65535, 257, 0], dtype=">u2").tobytes()
    assert decode(png(1, 1, 16, 2, rows)).tolist() == [[[255, 1, 0]]]


def test_sixteen_bits_are_scaled_alike_whatever_the_largest_value() -> None:
    for largest in (255, 256, 4095):
        values = np.array([[0, 129, largest]], dtype=np.uint16)
        expected = [[[0], [1], [round(largest / 257)]]]
        assert decode(saved(Image.fromarray(values))).tolist() == expected
        assert decode(saved(Image.fromarray(values), "TIFF")).tolist() == expected
        pgm = b"P5 3 1 65535\n" + values.astype(">u2").tobytes()
        assert decode(pgm).tolist() == expected
    pgm = b"P5 3 1 4095\n" + np.array([0, 2048, 4095], dtype=">u2").tobytes()
    assert decode(pgm).tolist() == [[[0], [128], [255]]]  # it says its range


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        (np.int32, [0, 255, 17], [0, 255, 17]),
        (np.int32, [-9, 256, 2570], [0, 1, 10]),
        (np.int16, [-9, 255, 17], [0, 255, 17]),
        (np.float32, [-3.0, 16.6, 300.0], [0, 17, 255]),
        (np.float32, [-0.5, 0.2, 1.0], [0, 51, 255]),
        (np.float32, [0.0, 0.0, 0.0], [0, 0, 0]),
    ],
)
def test_a_range_that_no_file_says_is_guessed(
    kind: type, values: list[float], expected: list[int]
) -> None:
    content = saved(Image.fromarray(np.array([values], dtype=kind)), "TIFF")
    assert decode(content)[0, :, 0].tolist() == expected


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_no_shade(value: float) -> None:
    content = saved(Image.fromarray(np.array([[0.5, value]], dtype=np.float32)), "TIFF")
    with pytest.raises(ImageError, match=r"the image holds NaN or infinity, .*; replace such"):
        decode(content)


def test_one_bit_is_black_and_white() -> None:
    image = Image.fromarray(np.array([[0, 255]], dtype=np.uint8)).convert("1")
    assert decode(saved(image)).tolist() == [[[0], [255]]]


def test_palettes_are_resolved() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 0])
    image.putpixel((1, 0), 1)
    assert decode(saved(image)).tolist() == [[[10, 20, 30], [200, 100, 0]]]
    assert decode(saved(image, "GIF")).tolist() == [[[10, 20, 30], [200, 100, 0]]]
    transparent = saved(image, transparency=0)
    assert decode(transparent).tolist() == [[[255, 255, 255], [200, 100, 0]]]


def test_transparency_is_laid_over_white() -> None:
    rgba = np.array([[[255, 0, 0, 255], [0, 0, 0, 0], [0, 0, 0, 51]]], dtype=np.uint8)
    expected = [[[255, 0, 0], [255, 255, 255], [204, 204, 204]]]
    for file_format in ("PNG", "TIFF"):
        assert decode(saved(Image.fromarray(rgba), file_format)).tolist() == expected
    assert decode(saved(Image.fromarray(rgba), "WEBP", lossless=True)).tolist() == expected
    rgb = Image.fromarray(COLOURS)
    assert decode(saved(rgb, transparency=(255, 0, 0)))[0, :2].tolist() == [[255] * 3, [0, 255, 0]]


def test_transparent_grey_is_still_grey() -> None:
    channels = Image.merge("LA", (Image.new("L", (1, 1), 0), Image.new("L", (1, 1), 51)))
    assert decode(saved(channels)).tolist() == [[[204]]]
    grey = Image.fromarray(np.array([[0, 100]], dtype=np.uint8))
    assert decode(saved(grey, transparency=0)).tolist() == [[[255], [100]]]
    assert decode(saved(grey.convert("1"), transparency=0)).tolist() == [[[255], [255]]]


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (1, [[1, 2, 3], [4, 5, 6]]),
        (2, [[3, 2, 1], [6, 5, 4]]),
        (3, [[6, 5, 4], [3, 2, 1]]),
        (6, [[4, 1], [5, 2], [6, 3]]),
        (8, [[3, 6], [2, 5], [1, 4]]),
    ],
)
def test_the_rotation_that_a_camera_noted_is_applied(
    orientation: int, expected: list[list[int]]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    values = np.array([[1, 2, 3], [4, 5, 6]], dtype=np.uint8)
    content = saved(Image.fromarray(values), exif=exif)
    assert decode(content)[:, :, 0].tolist() == expected


def test_damaged_notes_of_a_camera_are_no_damaged_image() -> None:
    nothing = bytes(8)
    # Turned by 90 degrees, at a time that is a fraction instead of a text.
    entries = struct.pack("<HHIIHHII", 0x0112, 3, 1, 6, 0x0132, 5, 1, 38)
    turned = b"II*\0" + struct.pack("<IH", 8, 2) + entries + struct.pack("<III", 0, 1, 2)
    picture = Image.fromarray(NOISE)
    pixels = decode(saved(picture, "JPEG", dpi=(72, 72)))
    for notes, expected in ((nothing, pixels), (turned, np.rot90(pixels, -1))):
        content = saved(picture, "JPEG", dpi=(72, 72), exif=b"Exif\0\0" + notes)
        np.testing.assert_array_equal(decode(content), expected)
        with pytest.raises(ImageError, match="not a readable image"):
            decode(content[: len(content) // 2])


@pytest.mark.parametrize("file_format", ["GIF", "TIFF", "WEBP", "PNG"])
def test_of_several_frames_the_first_counts(file_format: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if file_format == "WEBP" else {}
    content = saved(frames[0], file_format, save_all=True, append_images=frames[1:], **options)
    np.testing.assert_array_equal(decode(content), np.array(frames[0]))


def test_a_jpeg_of_several_pictures_is_a_jpeg(tmp_path: Path) -> None:
    pictures = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    path = tmp_path / "phone.jpg"
    path.write_bytes(saved(pictures[0], "MPO", save_all=True, append_images=pictures[1:]))
    red, _, blue = read_image(path)[8, 8].astype(int)
    assert red > 250
    assert blue < 5
    assert file_ending(path, path.read_bytes()) == ".jpg"


@pytest.mark.parametrize("file_format", FORMATS)
def test_cut_short_files_are_refused(file_format: str) -> None:
    content = encoded(NOISE, file_format)
    assert decode(content).shape == NOISE.shape
    for length in (len(content) // 2, 30, 1):
        with pytest.raises(ImageError, match=r"not a readable image \(|not an image: allowed are"):
            decode(content[:length])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"hello", "not an image: allowed are PNG, JPEG, BMP, GIF, TIFF, WEBP, PPM"),
        (b"PK\x03\x04" + bytes(40), "not an image: allowed are PNG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image: allowed are PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not an image: allowed are PNG"),
        (png(10_000, 5_001, 8, 0, b""), "has 10000 x 5001 pixels; at most 50,000,000 are read"),
        (png(60_000, 60_000, 8, 0, b""), "DecompressionBombError"),
    ],
)
def test_what_is_no_image_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        decode(content)


def test_the_limit_on_pixels_is_reached_and_not_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encode_png(NOISE)
    monkeypatch.setattr(images, "MAX_PIXELS", 1200)
    assert decode(content).shape == (40, 30, 3)
    monkeypatch.setattr(images, "MAX_PIXELS", 1199)
    with pytest.raises(ImageError, match="has 30 x 40 pixels; at most 1,199 are read"):
        decode(content)


@pytest.mark.parametrize(("file_format", "ending"), FORMATS.items())
def test_endings_follow_the_content(file_format: str, ending: str) -> None:
    assert file_ending(Path("image.wrong"), encoded(COLOURS, file_format)) == ending


def test_files_without_an_image_have_no_ending() -> None:
    path = Path("a") / "image.png"
    with pytest.raises(ImageError, match=r"a/image\.png: not an image: allowed are PNG"):
        file_ending(path, b"hello")
    with pytest.raises(ImageError, match=r"a/image\.png: not a readable image: .*bomb"):
        file_ending(path, png(60_000, 60_000, 8, 0, b""))
    assert file_ending(path, png(10_000, 10_000, 8, 0, b"")) == ".png"


def test_reading_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    with pytest.raises(ImageError, match=r"image\.png: No such file or directory"):
        read_image(path)
    path.write_bytes(b"")
    with pytest.raises(ImageError, match=r"image\.png: the file is empty"):
        read_image(path)
    with pytest.raises(ImageError, match="Is a directory"):
        read_image(tmp_path)


@pytest.mark.parametrize("pixels", [GREY[:, :, None], COLOURS, NOISE[::2, ::-1]])
def test_png_files_hold_the_pixels(tmp_path: Path, pixels: np.ndarray) -> None:
    path = tmp_path / "new" / "image.png"
    name = write_png(path, pixels)
    content = path.read_bytes()
    assert content == encode_png(pixels.copy())
    assert name == image_id(content)
    np.testing.assert_array_equal(read_image(path), pixels)
    assert [file.name for file in path.parent.iterdir()] == ["image.png"]


def test_the_id_of_an_image_is_its_digest() -> None:
    # SHA-256 of "abc": FIPS 180-2, appendix B.1.
    assert image_id(b"abc") == "ba7816bf8f01cfea"


def shade_files(folder, *shades):
    for shade in shades:
        write_png(folder / f"{shade}.png", np.full((4, 5, 1), shade, dtype=np.uint8))
    return [folder / f"{shade}.png" for shade in shades]


def test_image_files_are_decoded_when_asked_for(tmp_path):
    paths = shade_files(tmp_path, 0, 50, 100)
    files = ImageFiles([*paths, tmp_path / "missing.png"])
    assert len(files) == 4
    assert [int(files[which][0, 0, 0]) for which in (0, 2, 1)] == [0, 100, 50]
    assert [int(image[0, 0, 0]) for image in files[1:3]] == [50, 100]
    with pytest.raises(ImageError, match=r"missing\.png"):
        files[3]


def test_image_files_keep_the_ones_asked_for_last(tmp_path):
    paths = shade_files(tmp_path, 0, 50, 100)
    files = ImageFiles(paths, memory=40)  # two images of 20 bytes
    first, second = files[0], files[1]
    assert files[0] is first
    third = files[2]  # in place of the second
    for path in paths:
        path.unlink()
    assert files[0] is first
    assert files[2] is third
    assert second.shape == (4, 5, 1)
    with pytest.raises(ImageError):
        files[1]


def test_image_files_may_be_their_content(tmp_path):
    (path,) = shade_files(tmp_path, 7)
    files = ImageFiles([path.read_bytes(), path], memory=100)
    np.testing.assert_array_equal(files[0], read_image(path))
    assert files[0] is files[-2]
    assert files[1] is not files[0]


def test_image_files_do_not_keep_what_never_fits(tmp_path):
    files = ImageFiles(shade_files(tmp_path, 7), memory=19)
    assert files[0] is not files[0]


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("n_files", [0, 3, 8, 9, 40])
def test_a_loop_gives_every_image_in_order(tmp_path, monkeypatch, n_files, n_threads):
    monkeypatch.setattr(images, "_N_THREADS", n_threads)
    files = ImageFiles(shade_files(tmp_path, *range(n_files)))
    assert [int(image[0, 0, 0]) for image in files] == list(range(n_files))
    assert [len(part) for part in files.parts(16)] == [16] * (n_files // 16) + [n_files % 16] * (
        n_files % 16 > 0
    )


@pytest.mark.parametrize(
    ("n_bytes", "sizes"), [(60, [3, 3, 1]), (41, [3, 3, 1]), (40, [2, 2, 2, 1])]
)
def test_a_part_has_few_images_where_they_are_large(tmp_path, n_bytes, sizes):
    files = ImageFiles(shade_files(tmp_path, *range(7)))  # of 20 bytes each
    parts = list(files.parts(3, n_bytes))
    assert [len(part) for part in parts] == sizes
    assert [int(image[0, 0, 0]) for part in parts for image in part] == list(range(7))


@pytest.mark.parametrize(
    ("n_bytes", "sizes"),
    [(19, [1] * 20), (40, [1] * 4 + [2] * 8), (160, [1, 1, 1, 2, 3, 4, 8])],
)
def test_fewer_images_wait_in_memory_where_they_are_large(tmp_path, monkeypatch, n_bytes, sizes):
    gone: list[int] = []
    some = ImageFiles._some

    def note(self, numbers):
        gone.append(len(numbers))
        return some(self, numbers)

    monkeypatch.setattr(images, "_N_THREADS", 2)
    monkeypatch.setattr(images, "_BYTES_AT_ONCE", n_bytes)
    monkeypatch.setattr(ImageFiles, "_some", note)
    files = ImageFiles(shade_files(tmp_path, *range(20)))  # of 20 bytes each
    assert [int(image[0, 0, 0]) for image in files] == list(range(20))
    assert sorted(gone) == sizes


class Counted(np.ndarray):
    """Pixels that can be watched until they are freed."""


SMALL, LARGE = 10, 1000


@pytest.mark.parametrize("n_threads", [2, 4])
@pytest.mark.parametrize(
    "sizes",
    [
        [LARGE] * 60,
        [SMALL] * 60 + [LARGE] * 60,
        [SMALL, LARGE] * 30,
        ([SMALL] * 15 + [LARGE]) * 10,
        ([SMALL] * 20 + [99] * 20 + [LARGE] * 5) * 3,
        np.random.default_rng(0).choice([SMALL, LARGE], 90, p=[0.8, 0.2]).tolist(),
    ],
    ids=["large", "small first", "alternating", "few large", "three sizes", "random"],
)
def test_few_bytes_wait_in_memory_whatever_the_order_of_sizes(monkeypatch, sizes, n_threads):
    opened: list[int] = []
    alive: list[int] = [0]
    lock = threading.Lock()

    def count(n_bytes):
        with lock:
            alive.append(alive[-1] + n_bytes)

    def decode_counted(_files, file):
        opened.append(int(file))
        image = np.full((1, sizes[int(file)], 1), int(file), dtype=np.uint8).view(Counted)
        count(image.nbytes)
        weakref.finalize(image, count, -image.nbytes)
        return image

    monkeypatch.setattr(images, "_N_THREADS", n_threads)
    monkeypatch.setattr(images, "_BYTES_AT_ONCE", 100)
    monkeypatch.setattr(ImageFiles, "_decode", decode_counted)
    files = ImageFiles([b"%d" % number for number in range(len(sizes))])
    given = [(int(image[0, 0, 0]), image.nbytes) for image in files]
    assert given == list(enumerate(sizes))
    assert sorted(opened) == list(range(len(sizes)))  # none twice
    assert max(alive) <= (n_threads + 1) * (99 + LARGE) + LARGE  # a loop holds one image itself
    assert alive[-1] == 0


def test_small_images_are_decoded_by_several_threads(tmp_path, monkeypatch):
    """The first image waits for the third, which another thread decodes meanwhile."""
    begun = [threading.Event() for _ in range(3)]
    decode_file = ImageFiles._decode

    def wait(self, file):
        number = int(file.stem)
        if number < 3:
            begun[number].set()
        if number == 0:
            assert begun[2].wait(60)
        return decode_file(self, file)

    monkeypatch.setattr(images, "_N_THREADS", 2)
    monkeypatch.setattr(ImageFiles, "_decode", wait)
    files = ImageFiles(shade_files(tmp_path, *range(20)))
    assert [int(image[0, 0, 0]) for image in files] == list(range(20))


def test_a_loop_gives_what_a_go_left_before_it_stops_at_a_later_file(monkeypatch):
    sizes = [SMALL] * 30 + [LARGE] * 30

    def decode_some(_files, file):
        if int(file) in (50, 53):
            raise ImageError(f"{int(file)}: not an image")
        return np.full((1, sizes[int(file)], 1), int(file), dtype=np.uint8)

    monkeypatch.setattr(images, "_N_THREADS", 2)
    monkeypatch.setattr(images, "_BYTES_AT_ONCE", 100)
    monkeypatch.setattr(ImageFiles, "_decode", decode_some)
    seen = []
    with pytest.raises(ImageError, match=r"^50: not an image"):
        seen.extend(
            int(image[0, 0, 0]) for image in ImageFiles([b"%d" % number for number in range(60)])
        )
    assert seen == list(range(50))


def test_a_loop_stops_at_the_first_file_that_is_no_image(tmp_path):
    paths = shade_files(tmp_path, *range(30))
    for number in (12, 20):
        paths[number].write_bytes(b"hello")
    seen = []
    with pytest.raises(ImageError, match=r"12\.png: not an image"):
        seen.extend(ImageFiles(paths))
    assert len(seen) <= 12


def test_a_loop_that_is_left_early_ends_its_threads(tmp_path):
    stream = iter(ImageFiles(shade_files(tmp_path, *range(40))))
    assert next(stream)[0, 0, 0] == 0
    stream.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("images")]


def test_slices_share_what_is_kept(tmp_path):
    paths = shade_files(tmp_path, *range(20))
    files = ImageFiles(paths, memory=400)
    first = list(files[5:])[1:3]
    for path in paths:
        path.unlink()
    assert files[6] is first[0]
    assert files[4:][3] is first[1]
    assert files[-1][0, 0, 0] == 19
    with pytest.raises(ImageError):
        files[4]


def test_what_is_read_can_be_had_without_reading_again(tmp_path):
    paths = shade_files(tmp_path, *range(20))
    seen = {}
    list(ImageFiles(paths, seen=seen.__setitem__))
    assert seen == {path: path.read_bytes() for path in paths}


def test_the_bytes_of_files_do_for_the_files(tmp_path):
    path = shade_files(tmp_path, 9)[0]
    assert ImageFiles([path.read_bytes()])[0][0, 0, 0] == 9


def test_decoding_in_threads_leaves_the_filters_of_warnings_alone():
    """Thread-safe is no change of them and back: a filter put back too late would stay for good."""
    random = np.random.default_rng(0)
    files = [encode_png(random.integers(0, 256, (9, 9, 1), np.uint8)) for _ in range(400)]
    before = list(warnings.filters)
    assert len(list(ImageFiles(files))) == 400
    assert warnings.filters == before
    with pytest.warns(UserWarning, match="still heard"):
        warnings.warn("still heard", stacklevel=1)
