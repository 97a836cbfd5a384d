"""Small pictures inside one page: each is embedded once, however often it is shown."""

import base64
import io
from collections.abc import Callable

from markupsafe import Markup
from PIL import Image

from databoost.data.images import Pixels

_QUALITY = 75


class Pictures:
    """Pictures of images by id, collected while a page is written.

    Parameters
    ----------
    read
        Gives the pixels of an image id; raises KeyError if there is no such image.
    size
        Longest side in pixels.
    """

    def __init__(self, read: Callable[[str], Pixels], size: int) -> None:
        self._read = read
        self._size = size
        self._names: dict[str, str] = {}
        self._rules: list[str] = []

    def show(self, image_id: str, words: str = "") -> Markup:
        """Give the HTML element of an image, an empty frame if there is none.

        `words` tell what it is to those who point at it or have it read out.
        """
        if image_id not in self._names:
            self._names[image_id] = self._embed(image_id)
        name = self._names[image_id]
        told = f"{words} {image_id}".strip() + ("" if name else " (no picture)")
        element = Markup('<i class="p {}" role="img" aria-label="{}" title="{}"></i>')
        return element.format(name, told, told)

    def style(self) -> Markup:
        """Give the CSS rules that hold the pictures shown so far."""
        return Markup("\n").join(self._rules)

    def _embed(self, image_id: str) -> str:
        try:
            pixels = self._read(image_id)
        except KeyError:
            return ""
        name = f"p{len(self._rules)}"
        data = base64.b64encode(small_webp(pixels, self._size)).decode()
        rule = Markup(".{}{{background-image:url(data:image/webp;base64,{})}}")
        self._rules.append(rule.format(name, data))
        return name


def small_picture(pixels: Pixels, size: int) -> Image.Image:
    """Make pixels smaller, so that no side exceeds `size` pixels; those that are small stay."""
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    # Averaged over areas: thin strokes grow pale and do not break up.
    image.thumbnail((size, size), Image.Resampling.BOX)
    return image


def small_webp(pixels: Pixels, size: int) -> bytes:
    """Encode pixels as a WebP file, made smaller so that no side exceeds `size` pixels."""
    image = small_picture(pixels, size)
    stream = io.BytesIO()
    image.convert("RGB").save(stream, "WEBP", quality=_QUALITY, method=4)
    return stream.getvalue()
