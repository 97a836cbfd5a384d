"""Chosen candidates become image files, and no image is read twice on the way."""

from collections.abc import Callable, Collection
from pathlib import Path

import pandas as pd

from databoost.boosting import Addition
from databoost.candidates.augmentation import Parents, render
from databoost.data.images import ImageFiles, encode_png, image_id
from databoost.layout import Layout, RoundLayout
from databoost.params import Params


class Contents(dict[str, bytes]):
    """The bytes of image files by id: of those that are drawn, and of those that were read.

    What was read is kept as long as there is room, so that it need not be read again; of larger
    collections the rest is.
    """

    room = 2**30

    def keep(self, path: Path, content: bytes) -> None:
        """Keep what a file of a snapshot, whose name is its id, was found to hold."""
        if len(content) <= self.room:
            self.room -= len(content)
            self[path.stem] = content


def draw_additions(
    choose: Callable[[set[int]], list[Addition]],
    draw: Callable[[list[int]], list[bytes]],
    present: Collection[str],
    contents: Contents,
) -> list[tuple[str, Addition]]:
    """Choose additions and draw them; copies of what is there give way to others.

    Parameters
    ----------
    choose
        Gives additions, none of which are among the given candidates.
    draw
        Gives the bytes of the image files of candidates. It is asked for each once.
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
        for candidate, content in zip(new, draw(new), strict=True):
            names[candidate] = image_id(content)
            contents[names[candidate]] = content
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
    layout: Layout,
    params: Params,
    recipes: pd.DataFrame,
    manifest: pd.DataFrame,
    contents: Contents,
) -> list[bytes]:
    """Draw candidates at their native size, each parent decoded once.

    Parameters
    ----------
    recipes
        n rows of ``RECIPES``.
    manifest
        ``MANIFEST`` rows of their parents, among others.
    contents
        Has what was read of the parents' files, and takes what is read.

    Returns
    -------
    list of bytes
        n PNG files, in the order of `recipes`.

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
    drawn: dict[int, bytes] = {}
    images = files_of(layout.round("r00"), rows, contents)
    for (parent_id, places), image in zip(of_parent.items(), images, strict=True):
        parents = Parents(rows.loc[[parent_id]], [image], params.candidates)
        for place in places:
            drawn[place] = encode_png(render(parents, picked.loc[[place]]))
    return [drawn[place] for place in range(len(picked))]


def files_of(of: RoundLayout, rows: pd.DataFrame, contents: Contents) -> ImageFiles:
    """Give images of a snapshot; what is read is put among `contents`."""
    files = [
        contents.get(image) or of.dataset / path
        for image, path in zip(rows["image_id"], rows["path"], strict=True)
    ]
    return ImageFiles(files, seen=contents.keep)
