"""Chosen candidates become image files, and no image is read twice on the way."""

from collections.abc import Callable, Collection, Iterable, Iterator, MutableMapping
from pathlib import Path

import pandas as pd

from databoost.boosting import Addition
from databoost.candidates.augmentation import Parents, render
from databoost.data.files import write_bytes
from databoost.data.images import ImageFiles, encode_png, image_id
from databoost.layout import RoundLayout
from databoost.params import Params


class Contents(MutableMapping[str, bytes]):
    """The bytes of image files by id: of those that are drawn, and of those that were read.

    They are kept in memory as long as there is room. Of larger collections, what is drawn is put
    into files, and what was read is read again.

    Parameters
    ----------
    scratch
        Folder of those files alone; made when it is needed, and left to the caller to remove.
    """

    #: Bytes that are kept in memory.
    room = 2**30

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._held: dict[str, bytes | Path] = {}

    def keep(self, path: Path, content: bytes) -> None:
        """Keep what a file of a snapshot, whose name is its id, was found to hold."""
        if len(content) <= self.room:
            self[path.stem] = content

    def __setitem__(self, image: str, content: bytes) -> None:
        """Keep the bytes of an image."""
        if len(content) <= self.room:
            self.room -= len(content)
            self._held[image] = content
        else:
            self._held[image] = self._scratch / image
            write_bytes(self._scratch / image, content)

    def __getitem__(self, image: str) -> bytes:
        """Give the bytes of an image."""
        held = self._held[image]
        return held if isinstance(held, bytes) else held.read_bytes()

    def __delitem__(self, image: str) -> None:
        """Forget an image."""
        held = self._held.pop(image)
        if isinstance(held, Path):
            held.unlink()
        else:
            self.room += len(held)

    def __iter__(self) -> Iterator[str]:
        """Name the images, in the order in which they came."""
        return iter(self._held)

    def __len__(self) -> int:
        """Count the images."""
        return len(self._held)


def draw_additions(
    choose: Callable[[set[int]], list[Addition]],
    draw: Callable[[list[int]], Iterable[tuple[int, bytes]]],
    present: Collection[str],
    contents: Contents,
) -> list[tuple[str, Addition]]:
    """Choose additions and draw them; copies of what is there give way to others.

    Parameters
    ----------
    choose
        Gives additions, none of which are among the given candidates.
    draw
        Gives each of the candidates, in any order, and the bytes of its image file. It is asked for
        each once.
    present
        Ids of the images that are there.
    contents
        Takes the files' bytes.

    Returns
    -------
    list
        Image id and addition, in the order given. No id is among `present`, and none comes twice.
    """
    names: dict[int, str] = {}
    copies: set[int] = set()
    while True:
        additions = choose(copies)
        new = [addition.candidate for addition in additions if addition.candidate not in names]
        for candidate, content in draw(new):
            names[candidate] = name = image_id(content)
            if name not in contents:
                contents[name] = content
        seen, chosen, n_before = set(present), [], len(copies)
        for addition in additions:
            name = names[addition.candidate]
            if name in seen:
                copies.add(addition.candidate)
            else:
                seen.add(name)
                chosen.append((name, addition))
        if len(copies) == n_before:
            return chosen


def draw_candidates(
    of: RoundLayout,
    params: Params,
    recipes: pd.DataFrame,
    manifest: pd.DataFrame,
    contents: Contents,
) -> Iterator[tuple[int, bytes]]:
    """Draw candidates at their native size, each parent decoded once.

    Parameters
    ----------
    of
        A round whose snapshot has their parents.
    recipes
        n rows of ``RECIPES``.
    manifest
        ``MANIFEST`` rows of their parents, among others.
    contents
        Has what was read of the parents' files, and takes what is read.

    Yields
    ------
    tuple
        A row of `recipes`, from 0, and its PNG file: parent by parent, so that no more than one is
        held.

    Raises
    ------
    ParamsError
        If a recipe was drawn under another policy.
    ImageError
        If a parent is no readable image.
    """
    picked = recipes.reset_index(drop=True)
    of_parent = picked.groupby("parent_id").groups
    rows = manifest.set_index("image_id", drop=False).loc[list(of_parent)]
    images = files_of(of, rows, contents)
    for (parent_id, places), image in zip(of_parent.items(), images, strict=True):
        parents = Parents(rows.loc[[parent_id]], [image], params.candidates)
        for place in places:
            yield int(place), encode_png(render(parents, picked.loc[[place]]))


def files_of(of: RoundLayout, rows: pd.DataFrame, contents: Contents) -> ImageFiles:
    """Give images of a snapshot; what is read is put among `contents`."""
    files = [
        contents.get(image) or of.dataset / path
        for image, path in zip(rows["image_id"], rows["path"], strict=True)
    ]
    return ImageFiles(files, seen=contents.keep)
