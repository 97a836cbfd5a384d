"""The built-in dataset: handwritten-like Roman numerals with faults that are known.

Train and val hold what real collections hold: wrong labels, pictures that are no numeral, files
that lie in both splits, and in val styles that train lacks. The truth table says which image is
which; no stage reads it, only tests and benchmarks do. The test split is clean, and as rich in
unseen styles as val.

Every split is a row of slots. Slot k stands in the folder of numeral k modulo 10, which balances
classes and faults to within one image. The first slots of train and of val are the leaks (slot k
of both holds one file), then come the wrong labels, then the pictures without a numeral; the
unseen styles are the last slots of val and of test. File names are shuffled and tell nothing.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from databoost.data.files import whole_folder
from databoost.data.handwriting import STYLES, draw_numeral, draw_other
from databoost.data.images import encode_png, image_id
from databoost.data.lettering import NUMERALS
from databoost.data.tables import TRUTH
from databoost.errors import DatasetError, ParamsError, listed
from databoost.sections import SyntheticParams

#: Styles of val and test that train lacks.
UNSEEN_STYLES = ("pencil_bars", "lower_marker", "photo")

_SEEN_STYLES = tuple(name for name in STYLES if name not in UNSEEN_STYLES)
_SPLITS = ("train", "val", "test")
#: Stands where a generator of images has its split's number, 0 to 2.
_NAMES_STREAM = 3


@dataclass(frozen=True)
class _Slot:
    split: str
    number: int
    fault: str
    is_unseen_style: bool

    @property
    def label(self) -> str:
        return NUMERALS[self.number % len(NUMERALS)]


def write_synthetic(
    params: SyntheticParams, folder: Path, *, progress: bool = False
) -> pd.DataFrame:
    """Draw the built-in dataset; all of it or nothing appears in `folder`.

    Image k of a split depends on the seed, on k and on its fault alone, so that a larger split
    changes no pixel of the images it shares with a smaller one.

    Parameters
    ----------
    params
        Counts, shares (rounded to whole images) and the seed.
    folder
        Receives ``<train|val|test>/<class>/<name>.png``, grey; must be absent or empty.
    progress
        Show a progress bar on the terminal.

    Returns
    -------
    pandas.DataFrame
        :data:`databoost.data.tables.TRUTH`, one row an image, sorted by path. Both copies of a
        leak have the fault ``leak``; `true_label` is empty where there is no numeral.

    Raises
    ------
    ParamsError
        If the shares leave too few images for one another; lists every conflict.
    DatasetError
        If `folder` already holds something.
    """
    slots = _slots(params)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DatasetError(
            f"{folder} already holds something; the synthetic dataset needs a folder that is new "
            "or empty: name another, or move this one away"
        )
    names = {split: _names(params, split) for split in _SPLITS}
    rows = []
    with whole_folder(folder) as part:
        for slot in tqdm(slots, desc="drawing", unit="image", disable=not progress):
            content, row = _drawn(slot, params)
            row["path"] = f"{slot.split}/{slot.label}/{names[slot.split][slot.number]}"
            target = part / str(row["path"])
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            rows.append(row)
    rows.sort(key=lambda row: str(row["path"]))
    return TRUTH.frame({column: [row[column] for row in rows] for column in TRUTH.columns})


def _slots(params: SyntheticParams) -> list[_Slot]:
    sizes = {"train": params.n_train, "val": params.n_val, "test": params.n_test}
    n_leaks = round(params.leaks * params.n_val)
    slots, problems = [], []
    for split, size in sizes.items():
        faults: list[str] = []
        n_unseen = 0 if split == "train" else round(params.unseen_styles * size)
        if split != "test":
            n_wrong, n_no_numeral = (
                round(share * size) for share in (params.wrong_labels, params.not_numerals)
            )
            faults = ["leak"] * n_leaks + ["wrong_label"] * n_wrong + ["not_numeral"] * n_no_numeral
            if len(faults) > size:
                problems.append(
                    f"{split}: {n_leaks} leaks, {n_wrong} wrong labels and {n_no_numeral} "
                    f"pictures without a numeral are more than its {size} images"
                )
            if n_unseen and n_leaks + n_unseen > size:
                problems.append(
                    f"{split}: {n_leaks} leaks and {n_unseen} images in unseen styles are more "
                    f"than its {size} images (a leak is in train, so its style is not unseen)"
                )
        faults += [""] * (size - len(faults))
        slots += [
            _Slot(split, number, faults[number], number >= size - n_unseen)
            for number in range(size)
        ]
    if problems:
        raise ParamsError(
            f"synthetic asks for more faults than there are images; lower leaks, wrong_labels, "
            f"not_numerals or unseen_styles, or raise n_train or n_val:{listed(problems)}"
        )
    return slots


def _generator(params: SyntheticParams, stream: int, number: int) -> np.random.Generator:
    seeds = np.random.SeedSequence([params.seed, stream, number])
    return np.random.Generator(np.random.PCG64(seeds))


def _names(params: SyntheticParams, split: str) -> list[str]:
    size = {"train": params.n_train, "val": params.n_val, "test": params.n_test}[split]
    order = _generator(params, _NAMES_STREAM, _SPLITS.index(split)).permutation(size)
    return [f"{number:05d}.png" for number in order.tolist()]


def _drawn(slot: _Slot, params: SyntheticParams) -> tuple[bytes, dict[str, Any]]:
    """Draw a slot's image; gives the file's bytes and its row of the truth, less the path."""
    source = "val" if slot.fault == "leak" else slot.split
    rng = _generator(params, _SPLITS.index(source), slot.number)
    styles = UNSEEN_STYLES if slot.is_unseen_style else _SEEN_STYLES
    weights = np.array([STYLES[name].weight for name in styles])
    style = styles[int(rng.choice(len(styles), p=weights / weights.sum()))]
    true_label = slot.label
    if slot.fault == "not_numeral":
        true_label = ""
        pixels = draw_other(style, params.image_size, rng)
    else:
        if slot.fault == "wrong_label":
            others = [numeral for numeral in NUMERALS if numeral != slot.label]
            true_label = others[int(rng.integers(len(others)))]
        pixels = draw_numeral(true_label, style, params.image_size, rng)
    content = encode_png(pixels)
    row = {
        "image_id": image_id(content),
        "split": slot.split,
        "label": slot.label,
        "true_label": true_label,
        "fault": slot.fault,
        "style": style,
        "is_unseen_style": slot.is_unseen_style,
    }
    return content, row
