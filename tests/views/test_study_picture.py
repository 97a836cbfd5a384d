"""The plot of a study is a PNG, the same for the same tables, whichever way a pair stands."""

import pandas as pd

from databoost.data.tables import STUDY_ARMS, VERDICTS
from databoost.views.study_picture import _against, _seeds, study_picture


def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    arms = STUDY_ARMS.frame(
        {
            "arm": ["a", "a", "b", "b"] * 2, "round": ["r00", "r01"] * 4, "n_seeds": [2] * 8,
            "measure": ["kept"] * 4 + ["late"] * 4,
            "n_train": [10, 20, 10, 30] * 2, "val_accuracy": [0.5] * 8,
            "test_accuracy": [0.5, 0.6, 0.5, 0.75, 0.4, 0.5, 0.4, 0.55],
            "low": [0.25, 0.5, 0.25, float("nan"), 0.3, 0.4, 0.3, 0.5],
            "high": [0.75, 0.7, 0.75, float("nan"), 0.5, 0.6, 0.5, 0.6],
        }
    )  # fmt: skip
    verdicts = VERDICTS.frame(
        {
            "arm": ["a"] * 2, "other_arm": ["b"] * 2, "round": ["r01"] * 2, "n_seeds": [2] * 2,
            "measure": ["kept", "late"], "n_images": [9] * 2, "difference": [-0.15, -0.05],
            "low": [-0.25, -0.08], "high": [0.1, -0.02], "bootstrap_low": [-0.2] * 2,
            "bootstrap_high": [0.1] * 2, "n_train": [20] * 2, "other_n_train": [30] * 2,
            "sign_test": [0.5] * 2, "is_equal_size": [False] * 2, "is_more_than_noise": [False] * 2,
        }
    )  # fmt: skip
    return arms, verdicts


def test_the_plot_is_the_same_for_the_same_tables() -> None:
    picture = study_picture(*tables(), "a")
    assert picture.startswith(b"\x89PNG")
    assert study_picture(*tables(), "a") == picture
    arms, verdicts = tables()
    turned = verdicts.assign(
        arm="b", other_arm="a", difference=[0.15, 0.05], low=[-0.1, 0.02], high=[0.25, 0.08]
    )
    assert study_picture(arms, turned, "a") == picture
    assert study_picture(arms, verdicts, "b") != picture
    assert study_picture(arms, verdicts.iloc[:1], "a") != picture
    assert study_picture(arms[arms["measure"] == "kept"], verdicts, "a") != picture


def test_a_difference_is_the_arm_minus_the_control() -> None:
    verdicts = tables()[1].iloc[:1]
    drawn = ["round", "value", "low", "high"]
    as_it_stands = _against(verdicts, "a", "b")[drawn].to_numpy().tolist()
    assert as_it_stands == [["r01", -0.15, -0.25, 0.1]]
    turned = _against(verdicts, "b", "a")[drawn].to_numpy().tolist()
    assert turned == [["r01", 0.15, -0.1, 0.25]]


def test_a_study_of_one_arm_has_a_plot() -> None:
    arms, verdicts = tables()
    picture = study_picture(arms[arms["arm"] == "a"], verdicts.iloc[:0], "a")
    assert picture.startswith(b"\x89PNG")


def test_the_title_tells_how_many_seeds_the_arms_have() -> None:
    arms, verdicts = tables()
    assert _seeds(arms) == "2 seeds"
    assert _seeds(arms.assign(n_seeds=1)) == "1 seed"
    assert _seeds(arms.assign(n_seeds=[1, 2] * 4)) == "1 to 2 seeds"
    of_one = study_picture(arms.assign(n_seeds=1), verdicts, "a")
    assert of_one != study_picture(arms, verdicts, "a")
