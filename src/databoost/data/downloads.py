"""Archives from the network: whole, of bounded size, under a harmless name."""

import os
import re
import urllib.request
from http.client import HTTPException, HTTPResponse
from pathlib import Path, PurePosixPath
from urllib.error import HTTPError
from urllib.parse import quote, unquote, urlsplit

from tqdm import tqdm

from databoost.data.archives import ENDINGS, archive_ending
from databoost.data.files import is_refusal
from databoost.errors import SourceError

#: Larger downloads are given up.
MAX_DOWNLOAD_BYTES = 20 * 2**30
#: A server that is silent for so long is given up.
TIMEOUT_S = 30.0

_CHUNK = 1 << 20


def download(url: str, folder: Path, max_bytes: int = MAX_DOWNLOAD_BYTES) -> Path:
    """Download an archive, with a progress bar.

    Returns
    -------
    pathlib.Path
        The complete file in `folder`, under the name that the URL or the server gives it.

    Raises
    ------
    SourceError
        If the server does not answer with a complete archive of at most `max_bytes` bytes whose
        name has one of the known endings.
    OSError
        If the disk is full, or the folder may not be written to.
    """
    request = urllib.request.Request(
        quote(url, safe="%/:=&?~#+!$,;'@()*[]"), headers={"User-Agent": "databoost"}
    )
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / "download.part"
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            name = _archive_name(url, response)
            stream_to_file(response, part, "download", max_bytes)
    except HTTPError as error:
        error.close()
        raise SourceError(
            f"{url} answered {error.code} {error.reason}; check data.source, or download the "
            "archive another way and name the file there"
        ) from error
    except (OSError, HTTPException, ValueError) as error:
        if is_refusal(error):
            raise
        raise SourceError(
            f"{url} could not be downloaded ({getattr(error, 'reason', error)}); check data.source "
            "and the network, or download the archive another way and name the file there"
        ) from error
    os.replace(part, folder / name)
    return folder / name


def stream_to_file(
    response: HTTPResponse, path: Path, title: str, max_bytes: int = MAX_DOWNLOAD_BYTES
) -> None:
    """Write a server's answer to a file, with a progress bar.

    Parameters
    ----------
    title
        Name on the progress bar.
    max_bytes
        Bytes that the answer may have.

    Raises
    ------
    OSError
        If the answer is larger, or ends before the length that the server told; the file is
        incomplete then.
    ValueError
        If that length is no number.
    """
    length = response.headers.get("Content-Length")
    total = None if length is None else int(length)
    n_bytes = 0
    with (
        path.open("wb") as stream,
        tqdm(total=total, desc=title, unit="B", unit_scale=True, mininterval=1.0) as bar,
    ):
        while max(n_bytes, total or 0) <= max_bytes and (chunk := response.read(_CHUNK)):
            stream.write(chunk)
            n_bytes += len(chunk)
            bar.update(len(chunk))
    if max(n_bytes, total or 0) > max_bytes:
        raise OSError(f"it is larger than {max_bytes:,} bytes, which is the limit")
    if total is not None and n_bytes != total:
        raise OSError(f"it broke off after {n_bytes:,} of {total:,} bytes")


def _archive_name(url: str, response: HTTPResponse) -> str:
    names = [unquote(urlsplit(url).path), response.headers.get_filename() or ""]
    names.append(unquote(urlsplit(response.geturl()).path))
    for name in names:
        if archive_ending(name):
            return re.sub(r"[^\w.-]", "_", PurePosixPath(name).name)[-100:]
    raise SourceError(
        f"{url} does not name an archive; its name must end in {', '.join(ENDINGS)}. Download it "
        "another way and name the file in data.source"
    )
