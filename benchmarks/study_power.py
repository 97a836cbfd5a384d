"""How often a study calls a difference more than noise, by its size and the number of seeds.

    python benchmarks/study_power.py

Draws studies of two arms on test images: whether a model is right about an image is whether image,
arm on that image, training and chance add up to more than 0. By default the accuracies of an arm,
of about 0.8, spread by 2 points from training to training. With the chance of 300 images that makes
differences of two arms spread by 4 from seed to seed, as at 3,000 training images in
docs/evidence.md. More than noise is what `databoost study` calls so: the interval leaves 0 out, and
the sign test agrees. Without a difference, the share is how often that is wrong.
"""

import argparse

import numpy as np
import numpy.typing as npt
from scipy import stats
from tqdm import tqdm

from databoost.study.verdicts import crossed_interval, sign_test

_IMAGE, _ON_IMAGE, _CHANCE = 1.2, 0.2, 1.0  # standard deviations of what is added up
_ACCURACY = 0.8


def draw(
    shape: tuple[int, int], gain: float, spread: float, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Draw a study's differences, (n_seeds, n_images) of -1, 0 and 1: `gain` is their mean."""
    n_seeds, n_images = shape
    total = float(np.sqrt(_IMAGE**2 + _ON_IMAGE**2 + _CHANCE**2))
    middle = float(stats.norm.ppf(_ACCURACY))
    slope = float(stats.norm.pdf(middle)) / total  # of accuracy by what is added up
    ease = middle * total + rng.normal(0, _IMAGE, n_images)
    better, worse = (
        ease
        + shift / slope
        + rng.normal(0, _ON_IMAGE, n_images)
        + rng.normal(0, spread / slope, (n_seeds, 1))
        + rng.normal(0, _CHANCE, shape)
        > 0
        for shift in (gain / 2, -gain / 2)
    )
    return better.astype(float) - worse.astype(float)


def is_found(values: npt.NDArray[np.float64]) -> bool:
    """Tell whether a study calls these differences more than noise."""
    found = crossed_interval(values)
    return (found.low > 0 or found.high < 0) and sign_test(values) < 0.05


def main() -> None:
    """Print the share of studies that call a difference more than noise."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[2, 3, 5, 10])
    parser.add_argument("--gains", type=float, nargs="+", default=[0.0, 0.02, 0.05, 0.08])
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--spread", type=float, default=0.02, help="of one arm, over trainings")
    parser.add_argument("--studies", type=int, default=400)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    cells = [(n_seeds, gain) for n_seeds in arguments.seeds for gain in arguments.gains]
    lines = ["seeds  difference  called more than noise"]
    for n_seeds, gain in tqdm(cells, desc="power", unit="cell"):
        shape = (n_seeds, arguments.images)
        n_found = sum(
            is_found(draw(shape, gain, arguments.spread, rng)) for _ in range(arguments.studies)
        )
        lines.append(f"{n_seeds:5}  {gain:10.2f}  {n_found / arguments.studies:.2f}")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
