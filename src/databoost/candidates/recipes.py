"""Recipes: which parent a candidate has, and the random numbers that its seed stands for.

Nothing here keeps a state. Candidate i has the sorted parents' number i modulo their count and a
seed that is a hash of ``candidates.seed`` and i; every drawn number is a hash of that seed and the
number's place. So a candidate is the same whatever else is drawn, before it or beside it.

The hash is the finalizer of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom
number generators", OOPSLA 2014). The lowest bit of a seed is no hash: it is 1 if the candidate is
mirrored, which depends on the parent's label; so parent, seed and policy are all that its pixels
depend on.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import pandas as pd

from databoost.data.tables import RECIPES
from databoost.errors import DatasetError, ParamsError, listed
from databoost.sections import CandidatesParams

Seeds = npt.NDArray[np.uint64]
Values = npt.NDArray[np.float64]

#: To be raised with every change of what pixels a recipe gives.
CODE_VERSION = 1

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_LOWEST_BIT = np.uint64(1)


@dataclass(frozen=True)
class Draws:
    """What the policy drew for n candidates; all arrays have the shape (n,).

    Attributes
    ----------
    mirrored
        bool: left and right are exchanged, before anything else.
    rotation
        Degrees, counter-clockwise.
    shift_x, shift_y
        Shares of the width (to the right) and of the height (downwards).
    scale
        Factor of the size.
    shear
        Degrees by which upright strokes lean to the right.
    perspective_x, perspective_y
        By how much the right (lower) side is drawn larger than the left (upper) one, about.
    thickness
        Pixels by which dark strokes grow on every side; negative: shrink.
    noise
        Standard deviation in grey levels of 255.
    erasing
        Side of the erased square as a share of the shorter side; 0: none.
    erasing_x, erasing_y
        Where it lies, 0 (left, top) to 1 (right, bottom).
    elastic
        The most that a point of the lattice that bends the image is displaced along each axis, as
        a share of the shorter side.
    """

    mirrored: npt.NDArray[np.bool_]
    rotation: Values
    shift_x: Values
    shift_y: Values
    scale: Values
    shear: Values
    perspective_x: Values
    perspective_y: Values
    thickness: Values
    noise: Values
    erasing: Values
    erasing_x: Values
    erasing_y: Values
    elastic: Values

    def of(self, part: slice) -> "Draws":
        """Give those of some of the candidates."""
        return Draws(**{field.name: getattr(self, field.name)[part] for field in fields(self)})


def policy_version(params: CandidatesParams) -> str:
    """Name the policy: all that turns a parent and a seed into pixels and label.

    Returns
    -------
    str
        ``v<code version>-<8 hex digits>``; the digits are a hash of the ranges, probabilities and
        the mirror table, so that other parameters give another name.
    """
    policy = params.model_dump(mode="json", exclude={"count", "seed", "engine"})
    if params.elastic == (0.0, 0.0):  # as before there were bends: the same pixels, the same name
        del policy["elastic"]
    text = json.dumps(policy, sort_keys=True, separators=(",", ":"))
    return f"v{CODE_VERSION}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def make_recipes(
    first: int,
    stop: int,
    parents: pd.DataFrame,
    params: CandidatesParams,
    classes: Sequence[str],
) -> pd.DataFrame:
    """Draw the candidates ``first`` to ``stop - 1``.

    Candidate i has parent i modulo their number, in the order of their ids. Ids are hashes, so
    that this order is a shuffle, and all parents have equal shares.

    Parameters
    ----------
    first, stop
        Candidate ids, from 0; an id gives the same row in every range.
    parents
        ``image_id`` and ``label`` of every training image, in any order.
    params
        The section; ``count`` is not looked at.
    classes
        Labels that ``mirror`` may name.

    Returns
    -------
    pandas.DataFrame
        ``RECIPES``, one row a candidate. A mirrored one has the label that the table gives.

    Raises
    ------
    DatasetError
        If there is no parent, or an id stands for two.
    ParamsError
        If ``mirror`` names an unknown class; lists all of them.
    """
    _check_mirror(params.mirror, classes)
    _check_parents(parents)
    ordered = parents.sort_values("image_id")
    labels = ordered["label"].tolist()
    can_mirror = np.array([label in params.mirror for label in labels], dtype=np.bool_)
    after = np.array([params.mirror.get(label, label) for label in labels], dtype=object)
    candidate_ids = np.arange(first, stop, dtype=np.int64)
    which = candidate_ids % len(ordered)
    start = hash_numbers(np.array([params.seed], dtype=np.uint64), 0)
    seeds = hash_numbers(start, candidate_ids.astype(np.uint64)) & ~_LOWEST_BIT
    mirrored = can_mirror[which] & (draw_unit(seeds, 0) < params.mirror_probability)
    return RECIPES.frame(
        {
            "candidate_id": candidate_ids,
            "parent_id": ordered["image_id"].to_numpy(dtype=object)[which],
            "label": np.where(mirrored, after[which], np.array(labels, dtype=object)[which]),
            "seed": (seeds | mirrored.astype(np.uint64)).view(np.int64),
            "policy": [policy_version(params)] * len(candidate_ids),
        }
    )


def recipe_names(recipes: pd.DataFrame) -> list[str]:
    """Write each recipe as one word, ``<policy>:<parent id>:<seed in 16 hex digits>``.

    >>> recipe_names(RECIPES.frame({"candidate_id": [7], "parent_id": ["ab"], "label": ["v"],
    ...                             "seed": [-1], "policy": ["v1-00000000"]}))
    ['v1-00000000:ab:ffffffffffffffff']
    """
    return [
        f"{policy}:{parent}:{seed:016x}"
        for policy, parent, seed in zip(
            recipes["policy"], recipes["parent_id"], recipe_seeds(recipes).tolist(), strict=True
        )
    ]


def recipe_seeds(recipes: pd.DataFrame) -> Seeds:
    """Read the seeds of ``RECIPES`` as the (n,) uint64 that they are."""
    return recipes["seed"].to_numpy(dtype=np.int64).view(np.uint64)


def draw(seeds: Seeds, params: CandidatesParams) -> Draws:
    """Draw the parameters that (n,) uint64 seeds stand for.

    All are uniform within their range, the scale in its logarithm; an erased square is there with
    ``erasing_probability``.
    """
    bare = seeds & ~_LOWEST_BIT

    def between(place: int, bounds: tuple[float, float]) -> Values:
        low, high = bounds
        values: Values = low + (high - low) * draw_unit(bare, place)
        return values

    low, high = params.scale
    has_square = draw_unit(bare, 10) < params.erasing_probability
    return Draws(
        mirrored=(seeds & _LOWEST_BIT).astype(np.bool_),
        rotation=between(1, params.rotation),
        shift_x=between(2, params.translation),
        shift_y=between(3, params.translation),
        scale=low * np.exp(np.log(high / low) * draw_unit(bare, 4)),
        shear=between(5, params.shear),
        perspective_x=between(6, params.perspective),
        perspective_y=between(7, params.perspective),
        thickness=between(8, params.thickness),
        noise=between(9, params.noise),
        erasing=np.where(has_square, between(11, params.erasing), 0.0),
        erasing_x=draw_unit(bare, 12),
        erasing_y=draw_unit(bare, 13),
        elastic=between(14, params.elastic),
    )


def hash_numbers(seeds: Seeds, numbers: Seeds | int) -> Seeds:
    """Hash seeds with numbers, elementwise and broadcast: 64 random bits of each pair."""
    # One dimension at least: numpy warns of an overflow, which is meant here, for scalars.
    steps = np.array(numbers, dtype=np.uint64, ndmin=1) + np.uint64(1)
    bits: Seeds = seeds + steps * _GOLDEN
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def draw_unit(seeds: Seeds, places: Seeds | int) -> Values:
    """Draw the numbers at these places of the seeds' sequences: uniform, 0 to below 1."""
    values: Values = (hash_numbers(seeds, places) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return values


def _check_mirror(mirror: dict[str, str], classes: Sequence[str]) -> None:
    unknown = [
        f"{label}: {after} ({', '.join(name for name in (label, after) if name not in classes)})"
        for label, after in mirror.items()
        if label not in classes or after not in classes
    ]
    if unknown:
        raise ParamsError(
            f"candidates.mirror names unknown classes; allowed are {', '.join(classes)}; correct "
            f"or remove:{listed(unknown)}"
        )


def _check_parents(parents: pd.DataFrame) -> None:
    if parents.empty:
        raise DatasetError(
            "there are 0 training images, and candidates are drawn from 1 or more; check "
            "data.source and data/corrections.csv"
        )
    twice = parents["image_id"][parents["image_id"].duplicated()]
    if len(twice):
        raise DatasetError(
            f"{len(twice)} image id(s) stand for more than one training image, {twice.iat[0]} "
            "first; each may stand for one: run the prepare stage again, which resolves duplicates"
        )
