"""Chosen candidates become image files, and no image is read twice on the way."""

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
    layout: Layout,
    params: Params,
    recipes: pd.DataFrame,
    additions: list[Addition],
    manifest: pd.DataFrame,
    contents: Contents,
) -> list[tuple[str, Addition]]:
    """Draw the chosen candidates at their native size, each parent decoded once.

    Returns
    -------
    list
        Image id and addition, in the order given; one that equals an image of the snapshot
        (``MANIFEST``), or an earlier one, is left out. The files' bytes are put among `contents`.

    Raises
    ------
    ParamsError
        If a recipe was drawn under another policy.
    ImageError
        If a parent is no readable image.
    """
    picked = recipes.iloc[[addition.candidate for addition in additions]].reset_index(drop=True)
    of_parent = picked.groupby("parent_id").groups
    rows = manifest.set_index("image_id", drop=False).loc[list(of_parent)]
    drawn: dict[int, bytes] = {}
    images = files_of(layout.round("r00"), rows, contents)
    for (parent_id, places), image in zip(of_parent.items(), images, strict=True):
        parents = Parents(rows.loc[[parent_id]], [image], params.candidates)
        for place in places:
            drawn[place] = encode_png(render(parents, picked.loc[[place]]))
    present = set(manifest["image_id"])
    chosen: list[tuple[str, Addition]] = []
    for place, addition in enumerate(additions):
        name = image_id(drawn[place])
        if name not in present:
            present.add(name)
            contents[name] = drawn[place]
            chosen.append((name, addition))
    return chosen


def files_of(of: RoundLayout, rows: pd.DataFrame, contents: Contents) -> ImageFiles:
    """Give images of a snapshot; what is read is put among `contents`."""
    files = [
        contents.get(image) or of.dataset / path
        for image, path in zip(rows["image_id"], rows["path"], strict=True)
    ]
    return ImageFiles(files, seen=contents.keep)
