"""Recipes: the few numbers from which a candidate can be drawn again to the last bit.

A recipe is (parent image, seed, policy version). Everything random is a hash of a counter, never
the state of a generator, so candidate number i is the same whatever the batch size, the number of
workers or the number of candidates.
"""

import hashlib
import json
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from databoost.data.tables import RECIPES
from databoost.errors import ParamsError, listed
from databoost.params import CandidatesParams, Range

Seeds = npt.NDArray[np.uint64]
Values = npt.NDArray[np.float64]

#: Raised whenever the same seed would give other pixels than before.
POLICY_CODE = 1
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIRRORED = np.uint64(1)


@dataclass(frozen=True)
class Draws:
    """What is done to each of n candidates; all arrays are (n,) float64 or bool.

    Attributes
    ----------
    mirrored
        Left and right change places, before anything else.
    rotation, shear
        Degrees.
    scale
        Factor, 1 keeps the size.
    shift_x, shift_y
        Shares of width and height, to the right and down.
    perspective_x, perspective_y
        How much wider one side gets than its opposite, about.
    thickness
        Pixels by which dark strokes grow on each side.
    noise
        Standard deviation in grey levels.
    erasing
        Side of the erased square, as a share of the shorter side; 0: none.
    erasing_x, erasing_y
        Where it lies, 0 (left, top) to 1.
    """

    mirrored: npt.NDArray[np.bool_]
    rotation: Values
    shear: Values
    scale: Values
    shift_x: Values
    shift_y: Values
    perspective_x: Values
    perspective_y: Values
    thickness: Values
    noise: Values
    erasing: Values
    erasing_x: Values
    erasing_y: Values


def policy_version(params: CandidatesParams) -> str:
    """Name what turns seeds into pixels: the code's version and a digest of all ranges."""
    policy = params.model_dump(mode="json", exclude={"count", "seed"})
    text = json.dumps([POLICY_CODE, policy], sort_keys=True)
    return f"v{POLICY_CODE}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def make_recipes(
    first: int,
    stop: int,
    parents: pd.DataFrame,
    params: CandidatesParams,
    classes: list[str],
) -> pd.DataFrame:
    """Write the recipes of the candidates `first` to `stop` - 1.

    Candidate i comes from parent i modulo the number of parents, in the order of their ids: ids
    are hashes, so that order is a shuffle, and every parent has its equal share. The lowest bit of
    a seed says whether the candidate is mirrored, which depends on its parent's label.

    Parameters
    ----------
    parents
        ``image_id`` and ``label`` of the training images, in any order.
    classes
        The labels that there are.

    Returns
    -------
    pandas.DataFrame
        ``RECIPES``; a mirrored candidate has the label that ``mirror`` gives it.

    Raises
    ------
    ParamsError
        If ``candidates.mirror`` names an unknown class; lists them all.
    """
    unknown = [
        f"{name!r} in {label}: {becomes}"
        for label, becomes in params.mirror.items()
        for name in (label, becomes)
        if name not in classes
    ]
    if unknown:
        raise ParamsError(
            f"candidates.mirror names unknown classes; allowed are {', '.join(classes)}:"
            f"{listed(unknown)}"
        )
    ordered = parents.sort_values("image_id")
    which = np.arange(first, stop) % len(ordered)
    labels = ordered["label"].to_numpy()[which]
    start = hash_numbers(np.array([params.seed], dtype=np.uint64), np.uint64(0))
    seeds = hash_numbers(start, np.arange(first, stop, dtype=np.uint64))
    may_flip = np.array([label in params.mirror for label in labels], dtype=np.bool_)
    mirrored = may_flip & (_uniform(seeds, 0) < params.mirror_probability)
    seeds = (seeds & ~_MIRRORED) | mirrored.astype(np.uint64)
    return RECIPES.frame(
        {
            "candidate_id": np.arange(first, stop),
            "parent_id": ordered["image_id"].to_numpy()[which],
            "label": [
                params.mirror[label] if flip else label
                for label, flip in zip(labels, mirrored, strict=True)
            ],
            "seed": seeds.view(np.int64),
            "policy": [policy_version(params)] * (stop - first),
        }
    )


def recipe_seeds(recipes: pd.DataFrame) -> Seeds:
    """Give the seeds of ``RECIPES`` rows: (n,) uint64."""
    return recipes["seed"].to_numpy(dtype=np.int64).view(np.uint64)


def recipe_names(recipes: pd.DataFrame) -> list[str]:
    """Write each recipe's policy and seed as one word, ``v1-0a1b2c3d:<16 hex digits>``."""
    return [
        f"{policy}:{int(seed):016x}"
        for policy, seed in zip(recipes["policy"], recipe_seeds(recipes), strict=True)
    ]


def draw(seeds: Seeds, params: CandidatesParams) -> Draws:
    """Draw what is done to each candidate; `seeds` is (n,)."""
    low, high = params.scale
    is_erased = _uniform(seeds, 10) < params.erasing_probability
    return Draws(
        mirrored=(seeds & _MIRRORED) == _MIRRORED,
        rotation=_within(seeds, 1, params.rotation),
        shear=_within(seeds, 2, params.shear),
        scale=np.exp(_within(seeds, 3, (float(np.log(low)), float(np.log(high))))),
        shift_x=_within(seeds, 4, params.translation),
        shift_y=_within(seeds, 5, params.translation),
        perspective_x=_within(seeds, 6, params.perspective),
        perspective_y=_within(seeds, 7, params.perspective),
        thickness=_within(seeds, 8, params.thickness),
        noise=_within(seeds, 9, params.noise),
        erasing=np.where(is_erased, _within(seeds, 11, params.erasing), 0.0),
        erasing_x=_uniform(seeds, 12),
        erasing_y=_uniform(seeds, 13),
    )


def hash_numbers(seeds: Seeds, numbers: npt.NDArray[np.uint64] | np.uint64) -> Seeds:
    """Hash seeds and counters, broadcast against each other, to 64 random bits each.

    The state and the finaliser of SplitMix64 (Steele, Lea and Flood 2014), with the counter in
    place of the number of calls; products wrap around, as they must.
    """
    with np.errstate(over="ignore"):
        values = seeds + (numbers + np.uint64(1)) * _GOLDEN
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        hashed: Seeds = values ^ (values >> np.uint64(31))
    return hashed


def _uniform(seeds: Seeds, number: int) -> Values:
    bits = hash_numbers(seeds, np.uint64(number)) >> np.uint64(11)
    uniform: Values = bits.astype(np.float64) * 2.0**-53
    return uniform


def _within(seeds: Seeds, number: int, allowed: Range) -> Values:
    low, high = allowed
    within: Values = low + (high - low) * _uniform(seeds, number)
    return within
