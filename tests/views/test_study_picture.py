"""The plot of a study is a PNG, the same for the same tables, whichever way a pair stands."""

import pandas as pd

from databoost.data.tables import STUDY_ARMS, VERDICTS
from databoost.views.study_picture import _against, study_picture


def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    arms = STUDY_ARMS.frame(
        {
            "arm": ["a", "a", "b", "b"], "round": ["r00", "r01"] * 2, "n_seeds": [2] * 4,
            "n_train": [10, 20, 10, 30], "val_accuracy": [0.5] * 4,
            "test_accuracy": [0.5, 0.6, 0.5, 0.75], "low": [0.25, 0.5, 0.25, float("nan")],
            "high": [0.75, 0.7, 0.75, float("nan")],
        }
    )  # fmt: skip
    verdicts = VERDICTS.frame(
        {
            "arm": ["a"], "other_arm": ["b"], "round": ["r01"], "n_seeds": [2], "n_images": [9],
            "difference": [-0.15], "low": [-0.25], "high": [0.1], "bootstrap_low": [-0.2],
            "bootstrap_high": [0.1], "n_train": [20], "other_n_train": [30], "sign_test": [0.5],
            "is_equal_size": [False], "is_more_than_noise": [False],
        }
    )  # fmt: skip
    return arms, verdicts


def test_the_plot_is_the_same_for_the_same_tables() -> None:
    picture = study_picture(*tables(), "a")
    assert picture.startswith(b"\x89PNG")
    assert study_picture(*tables(), "a") == picture
    arms, verdicts = tables()
    turned = verdicts.assign(arm="b", other_arm="a", difference=0.15, low=-0.1, high=0.25)
    assert study_picture(arms, turned, "a") == picture
    assert study_picture(arms, verdicts, "b") != picture


def test_a_difference_is_the_arm_minus_the_control() -> None:
    _, verdicts = tables()
    drawn = ["round", "value", "low", "high"]
    as_it_stands = _against(verdicts, "a", "b")[drawn].to_numpy().tolist()
    assert as_it_stands == [["r01", -0.15, -0.25, 0.1]]
    turned = _against(verdicts, "b", "a")[drawn].to_numpy().tolist()
    assert turned == [["r01", 0.15, -0.1, 0.25]]


def test_a_study_of_one_arm_has_a_plot() -> None:
    arms, verdicts = tables()
    picture = study_picture(arms[arms["arm"] == "a"], verdicts.iloc[:0], "a")
    assert picture.startswith(b"\x89PNG")
