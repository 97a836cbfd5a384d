"""Pretrained weights as files: torchvision's ImageNet weights, downloaded once and checked."""

import re
import urllib.request
from http.client import HTTPException
from pathlib import Path

from databoost.data.downloads import TIMEOUT_S, stream_to_file
from databoost.data.files import is_refusal, sha256_of
from databoost.errors import ParamsError, WeightsError
from databoost.model.architectures import FIXED, architecture_names

#: Architectures that :func:`build_model` refuses: they do not end in a linear layer.
_WITHOUT_FEATURES = ("squeezenet1_0", "squeezenet1_1")
#: Whose first weights take images of 518 x 518 pixels alone; it is built for 224 x 224.
_OTHER_VERSION = {"vit_h_14": "IMAGENET1K_SWAG_LINEAR_V1"}


def download_weights(architecture: str, folder: Path) -> Path:
    """Download torchvision's first ImageNet weights of an architecture, unless they are there.

    Of an architecture that takes images of one size these are the first for 224 x 224 pixels.

    Parameters
    ----------
    architecture
        A torchvision classification architecture, ``resnet50`` say.
    folder
        Where the file goes, as ``<architecture>.pth``.

    Raises
    ------
    ParamsError
        If torchvision has no such architecture, or one that is no embedder.
    WeightsError
        If the download fails, or the file's SHA-256 is not the one in its name.
    """
    from torchvision import models

    try:
        versions = models.get_model_weights(architecture)
    except ValueError:
        raise ParamsError(
            f"torchvision has no weights for {architecture!r}; resnet50 is the usual choice"
        ) from None
    allowed = [name for name in architecture_names() if name not in (FIXED, *_WITHOUT_FEATURES)]
    if architecture not in allowed:
        raise ParamsError(
            f"no embedder takes torchvision's weights for {architecture!r}; allowed are "
            f"{', '.join(allowed)}"
        )
    named = _OTHER_VERSION.get(architecture)
    version = versions[named] if named else next(iter(versions))
    return fetch_weights(str(version.url), folder / f"{architecture}.pth")


def fetch_weights(url: str, path: Path) -> Path:
    """Download a weights file whose name ends in the start of its SHA-256 (``-0676ba61.pth``).

    Returns
    -------
    pathlib.Path
        `path`; a file that is there already and has the right digest is not downloaded again.

    Raises
    ------
    WeightsError
        If the name holds no digest, the download fails, or the digest does not fit.
    OSError
        If the disk is full, or the folder may not be written to.
    """
    found = re.search(r"-([0-9a-f]{8,})\.pth$", url)
    if not found:
        raise WeightsError(f"{url} does not end in -<start of SHA-256>.pth, so it can't be checked")
    wanted = found[1]
    if path.exists() and sha256_of(path).startswith(wanted):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:
            stream_to_file(response, part, path.name)
        digest = sha256_of(part)
        if not digest.startswith(wanted):
            raise WeightsError(
                f"{url} has the SHA-256 {digest}, which does not start with {wanted}: the download "
                "is damaged or was altered; nothing was kept"
            )
        part.replace(path)
    except (OSError, HTTPException, ValueError) as error:
        if is_refusal(error):
            raise
        reason = getattr(error, "reason", error)
        raise WeightsError(
            f"{url} could not be downloaded ({reason}); fetch it another way, and name the file in "
            "embedding.weights"
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return path
