"""Folds and out-of-sample predictions."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from databoost.audit import crossvalidation
from databoost.audit.crossvalidation import (
    Fold,
    cross_validate,
    dynamics,
    fold_numbers,
    is_label_seen,
    mean_dynamics,
    stratified_folds,
)
from databoost.data.resizing import TapStore
from databoost.errors import DatasetError, ParamsError
from databoost.model.batches import Examples, epoch_order
from databoost.sections import ModelParams, ScoresParams

MODEL = ModelParams(architecture="fixed", image_size=32)
SETTINGS = ScoresParams(folds=2, epochs=2, batch_size=4, learning_rate=0.001, neighbors=2, seed=0)
CPU = torch.device("cpu")


def examples() -> Examples:
    """Six dark and six light images of one colour."""
    shades = [10 + number for number in range(6)] + [240 + number for number in range(6)]
    images = [np.full((8, 8, 1), shade, dtype=np.uint8) for shade in shades]
    return Examples(TapStore(images, 32), torch.tensor([0] * 6 + [1] * 6))


def test_folds_are_level_in_every_class() -> None:
    labels = np.repeat([0, 1, 2], 10)
    folds = stratified_folds(labels, 5, seed=0)
    counts = [np.bincount(folds[labels == label], minlength=5).tolist() for label in range(3)]
    assert counts == [[2] * 5] * 3
    assert folds.tolist() == stratified_folds(labels, 5, seed=0).tolist()
    assert folds.tolist() != stratified_folds(labels, 5, seed=1).tolist()


def test_a_group_stays_in_one_fold() -> None:
    groups = np.array([0, 0, 0, 1, 2, 3])
    folds = stratified_folds(np.zeros(6, dtype=np.int64), 2, seed=0, groups=groups)
    assert len(set(folds[:3])) == 1
    assert sorted(np.bincount(folds)) == [3, 3]


def test_folds_need_groups() -> None:
    labels = np.zeros(4, dtype=np.int64)
    with pytest.raises(DatasetError, match=r"2 group\(s\) of near-duplicates .* 3 folds"):
        stratified_folds(labels, 3, seed=0, groups=np.array([0, 0, 1, 1]))
    with pytest.raises(DatasetError, match="2 groups are given for 4 images"):
        stratified_folds(labels, 2, seed=0, groups=np.array([0, 1]))


def test_a_class_of_one_fold_is_seen_by_no_model() -> None:
    labels, folds = np.array([0, 0, 1, 1, 1, 2]), np.array([0, 2, 1, 1, 1, 0])
    assert is_label_seen(labels, folds).tolist() == [True] * 2 + [False] * 4
    labels[2] = 2  # then both images of 2 lie in a fold of their own
    assert is_label_seen(labels, folds).tolist() == [True] * 3 + [False] * 2 + [True]


def test_folds_are_numbered() -> None:
    nothing = np.zeros((1, 0, 2), dtype=np.float32)
    folds = [Fold(np.array(heldout), nothing) for heldout in ([3, 0], [1], [2, 4])]
    assert fold_numbers(folds).tolist() == [0, 1, 2, 0, 2]


def test_every_image_is_judged_once_by_a_model_that_never_saw_it(tmp_path: Path) -> None:
    folds = cross_validate(examples(), 2, MODEL, SETTINGS, tmp_path, device=CPU)
    assert sorted(np.concatenate([fold.heldout for fold in folds])) == list(range(12))
    joined = dynamics(folds)
    assert joined.shape == (2, 12, 2)
    assert np.exp(joined).sum(axis=2) == pytest.approx(1.0, abs=1e-5)
    again = cross_validate(examples(), 2, MODEL, SETTINGS, tmp_path / "again", device=CPU)
    assert (dynamics(again) == joined).all()


def test_predictions_belong_to_the_images_that_were_held_out() -> None:
    epochs, classes = np.array([0, 100])[:, None, None], np.array([0.0, 0.25, 0.5])
    folds = []
    for heldout in (np.array([3, 0]), np.array([1, 4, 2])):
        folds.append(Fold(heldout, (epochs + heldout[:, None] + classes).astype(np.float32)))
    expected = epochs + np.arange(5)[:, None] + classes
    assert dynamics(folds).tolist() == expected.tolist()


def test_the_mean_over_the_epochs_is_that_of_all_predictions_to_the_bit() -> None:
    random = np.random.default_rng(0)
    folds = [
        Fold(heldout, random.normal(-3, 2, (11, len(heldout), 3)).astype(np.float32))
        for heldout in (np.array([6, 0, 3]), np.array([5]), np.array([1, 4, 2]))
    ]
    expected = dynamics(folds).astype(np.float64).mean(axis=0)
    averaged = mean_dynamics(folds)
    assert (averaged.shape, averaged.dtype) == ((1, 7, 3), np.float64)
    assert averaged[0].tolist() == expected.tolist()


def test_a_fold_trains_on_all_images_but_those_that_it_judges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[list[set[int]]] = []  # positions of every epoch, by fold
    build, batch = crossvalidation.build_model, TapStore.batch

    def start(*arguments: Any) -> Any:
        trained.append([])
        return build(*arguments)

    def note_order(*arguments: Any) -> torch.Tensor:
        trained[-1].append(set())
        return epoch_order(*arguments)

    def note(self: TapStore, which: torch.Tensor | slice) -> torch.Tensor:
        if torch.is_grad_enabled() and not torch.is_inference_mode_enabled():
            assert isinstance(which, torch.Tensor)
            trained[-1][-1].update(which.tolist())
        return batch(self, which)

    monkeypatch.setattr(crossvalidation, "build_model", start)
    monkeypatch.setattr(crossvalidation, "epoch_order", note_order)
    monkeypatch.setattr(TapStore, "batch", note)
    folds = cross_validate(examples(), 2, MODEL, SETTINGS, tmp_path, device=CPU)
    assert trained == [[set(range(12)) - set(fold.heldout.tolist())] * 2 for fold in folds]


def test_a_finished_fold_is_not_trained_again(tmp_path: Path) -> None:
    first = dynamics(cross_validate(examples(), 2, MODEL, SETTINGS, tmp_path, device=CPU))
    (tmp_path / "fold1.npz").unlink()
    kept = (tmp_path / "fold0.npz").stat().st_mtime_ns
    second = dynamics(cross_validate(examples(), 2, MODEL, SETTINGS, tmp_path, device=CPU))
    assert (tmp_path / "fold0.npz").stat().st_mtime_ns == kept
    assert (first == second).all()


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_damaged_fold_is_trained_again(tmp_path: Path, share: float) -> None:
    first = dynamics(cross_validate(examples(), 2, MODEL, SETTINGS, tmp_path, device=CPU))
    path = tmp_path / "fold1.npz"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    second = dynamics(cross_validate(examples(), 2, MODEL, SETTINGS, tmp_path, device=CPU))
    assert path.read_bytes() == content
    assert (first == second).all()


def test_a_model_that_does_not_take_the_images_is_refused(tmp_path: Path) -> None:
    model = ModelParams(architecture="alexnet", image_size=32)
    with pytest.raises(ParamsError, match=r"'alexnet' cannot be trained on .* scores.batch_size"):
        cross_validate(examples(), 2, model, SETTINGS, tmp_path, device=CPU)


def test_a_training_that_diverges_is_named(tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(ParamsError, match=r"diverged in epoch 0, with scores.learning_rate 1e"):
        cross_validate(examples(), 2, MODEL, settings, tmp_path, device=CPU)
