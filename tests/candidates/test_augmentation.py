"""Recipes to pixels: exact where the policy is, statistical where it is not."""

import hashlib

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import ndimage

from databoost.candidates import augmentation
from databoost.candidates.augmentation import Parents, render, render_taps
from databoost.candidates.recipes import draw, make_recipes, recipe_seeds
from databoost.candidates.strokes import thicken
from databoost.candidates.warping import find_warps, sample
from databoost.data.resizing import TapStore, blend_taps, tap_axis
from databoost.errors import DatasetError, ParamsError
from databoost.sections import CandidatesParams

NEUTRAL = CandidatesParams(
    count=1,
    seed=0,
    rotation=(0, 0),
    translation=(0, 0),
    scale=(1, 1),
    shear=(0, 0),
    perspective=(0, 0),
    thickness=(0, 0),
    elastic=(0, 0),
    noise=(0, 0),
    erasing=(0, 0),
    erasing_probability=0,
    mirror={},
    mirror_probability=1,
    engine="local",
)


def policy(**values) -> CandidatesParams:
    return CandidatesParams.model_validate({**NEUTRAL.model_dump(), **values})


LIVELY = policy(
    rotation=(-15, 15),
    translation=(-0.1, 0.1),
    scale=(0.8, 1.2),
    shear=(-15, 15),
    perspective=(-0.15, 0.15),
    elastic=(0, 0.2),
    thickness=(-2, 2),
    noise=(0, 12),
    erasing=(0, 0.3),
    erasing_probability=0.5,
    mirror={"iv": "vi"},
    mirror_probability=0.5,
    engine="local",
)
STRAIGHT = policy(**{**LIVELY.model_dump(), "elastic": (0, 0)})


def image(height: int, width: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def rows_of(images: list[np.ndarray]) -> pd.DataFrame:
    return pd.DataFrame(
        {"image_id": [f"{place:03d}" for place in range(len(images))], "label": "iv"}
    )


def prepared(images, params, n: int) -> tuple[Parents, pd.DataFrame]:
    rows = rows_of(images)
    recipes = make_recipes(0, n, rows, params, ["iv", "vi"])
    return Parents(rows, images, params), recipes


def candidate(pixels: np.ndarray, params: CandidatesParams, number: int = 0) -> np.ndarray:
    parents, recipes = prepared([pixels], params, number + 1)
    return render(parents, recipes.iloc[[number]])


MIXED = [
    image(40, 30, seed=1),
    image(21, 33, 3, seed=2),
    image(70, 64, seed=3),
    image(5, 7, seed=4),
    image(1, 1, seed=5),
]
GREY = [MIXED[0], MIXED[2], image(90, 128, seed=6)]


@pytest.mark.parametrize("shape", [(7, 9, 1), (8, 8, 3), (1, 1, 1), (250, 187, 1)])
def test_a_neutral_policy_gives_the_parent(shape) -> None:
    parent = image(*shape)
    found = candidate(parent, NEUTRAL)
    assert found.dtype == np.uint8
    assert found.shape == shape
    assert (found == parent).all()


def test_a_neutral_policy_gives_the_parents_taps() -> None:
    parents, recipes = prepared(MIXED, NEUTRAL, 5)
    taps, row_fractions, column_fractions = render_taps(parents, recipes, 8)
    store = TapStore([np.broadcast_to(one, (*one.shape[:2], 3)) for one in MIXED], 8)
    assert taps.equal(store.taps)
    assert row_fractions.equal(store.row_fractions)
    assert column_fractions.equal(store.column_fractions)


def test_rotation_by_a_quarter_turns_counter_clockwise() -> None:
    parent = image(9, 9, 3)
    assert (candidate(parent, policy(rotation=(90, 90))) == np.rot90(parent)).all()


def test_translation_by_whole_pixels_moves_right_and_down() -> None:
    parent = np.full((8, 8, 1), 200, dtype=np.uint8)
    parent[1:7, 1:7] = image(6, 6)
    found = candidate(parent, policy(translation=(0.25, 0.25)))
    assert (found[2:, 2:] == parent[:-2, :-2]).all()
    assert (found[:2] == 200).all()
    assert (found[:, :2] == 200).all()


def test_strokes_are_bent_and_stay_whole() -> None:
    parent = np.full((120, 120, 1), 255, dtype=np.uint8)
    parent[20:100, 57:63] = 0

    def farthest_from_a_line(params: CandidatesParams) -> list[float]:
        parents, recipes = prepared([parent], params, 40)
        found = []
        for number in range(40):
            ink = render(parents, recipes.iloc[[number]])[:, :, 0] < 128
            assert ndimage.label(ink)[1] == 1
            rows, columns = np.nonzero(ink)
            found.append(np.abs(columns - np.polyval(np.polyfit(rows, columns, 1), rows)).max())
        return found

    assert max(farthest_from_a_line(policy(rotation=(-9, 9)))) < 3.5  # half the stroke is 3
    bent = farthest_from_a_line(policy(elastic=(0.2, 0.2)))
    assert np.mean(bent) > 4
    assert max(bent) > 5.5


def test_bends_read_to_the_right_and_below() -> None:
    parent = image(40, 40)
    canvas = torch.zeros((1, 1, 43, 43), dtype=torch.uint8)
    canvas[0, 0, 1:41, 1:41] = torch.from_numpy(parent[:, :, 0])
    bends = torch.tensor([3.0, -5.0]).view(1, 2, 1, 1).expand(1, 2, 40, 40)
    still = draw(np.array([2], dtype=np.uint64), NEUTRAL)
    places = np.arange(40)[None]
    warps = find_warps(still, np.array([40]), np.array([40]))
    found = sample(canvas, warps, places, places, bends)[0, 0].numpy()
    assert (found[5:, :-3] == parent[:-5, 3:, 0]).all()


def test_mirrored_candidates_are_flipped_and_the_others_are_not() -> None:
    parent = image(6, 11, 3)
    params = policy(mirror={"iv": "vi"}, mirror_probability=0.5)
    parents, recipes = prepared([parent], params, 30)
    for number, label in enumerate(recipes["label"]):
        expected = parent[:, ::-1] if label == "vi" else parent
        assert (render(parents, recipes.iloc[[number]]) == expected).all()
    assert set(recipes["label"]) == {"iv", "vi"}


@pytest.mark.parametrize("amount", [1.0, -1.0, 0.6])
def test_thickness_is_that_of_strokes(amount: float) -> None:
    parent = image(12, 10, 3)
    found = candidate(parent, policy(thickness=(amount, amount)))
    assert (found == thicken(parent.transpose(2, 0, 1), amount).transpose(1, 2, 0)).all()


@pytest.mark.parametrize("colour", [0, 131, 255])
def test_one_colour_stays_one_colour_without_noise(colour: int) -> None:
    parent = np.full((37, 20, 3), colour, dtype=np.uint8)
    params = LIVELY.model_copy(update={"noise": (0.0, 0.0)})
    parents, recipes = prepared([parent], params, 40)
    taps, *fractions = render_taps(parents, recipes, 16)
    assert (taps == colour).all()
    assert (blend_taps(taps, *fractions) == colour).all()


@pytest.mark.parametrize("images", [MIXED, GREY], ids=["mixed", "grey"])
@pytest.mark.parametrize("size", [4, 32])
def test_taps_are_those_of_the_whole_picture(images, size: int) -> None:
    parents, recipes = prepared(images, LIVELY, 40)
    taps, *fractions = render_taps(parents, recipes, size)
    pictures = [render(parents, recipes.iloc[[number]]) for number in range(40)]
    for number, picture in enumerate(pictures):
        height, width = images[number % len(images)].shape[:2]
        assert picture.shape == (height, width, parents.channels)
        read = np.ix_(tap_axis(height, size).positions, tap_axis(width, size).positions)
        assert (taps[number].numpy() == picture[read].transpose(2, 0, 1)).all()
    resized = TapStore(pictures, size).batch(slice(None))
    assert blend_taps(taps, *fractions).equal(resized)


def test_pictures_in_bands_and_batches_in_parts_are_the_same(monkeypatch) -> None:
    parents, recipes = prepared(GREY, LIVELY, 24)
    whole = render_taps(parents, recipes, 16)
    picture = render(parents, recipes.iloc[[2]])
    for block in (1, 300, 3000):
        monkeypatch.setattr(augmentation, "_BLOCK", block)
        assert all(
            a.equal(b) for a, b in zip(whole, render_taps(parents, recipes, 16), strict=True)
        )
        assert (render(parents, recipes.iloc[[2]]) == picture).all()


def test_few_pixels_are_laid_out_at_once_though_some_parents_are_tall_and_some_wide(
    monkeypatch,
) -> None:
    images = [image(300, 4, seed=1), image(4, 300, seed=2), image(40, 40, seed=3)]
    parents, recipes = prepared(images, LIVELY, 24)
    whole = render_taps(parents, recipes, 8)
    sizes = []

    def spy(*given: object) -> torch.Tensor:
        canvases = lay(*given)
        sizes.append((len(canvases), canvases[0].numel()))
        return canvases

    lay = augmentation._canvases
    monkeypatch.setattr(augmentation, "_canvases", spy)
    most = 2**17
    monkeypatch.setattr(augmentation, "_CANVASES", most)
    assert all(a.equal(b) for a, b in zip(whole, render_taps(parents, recipes, 8), strict=True))
    assert all(n == 1 or n * area <= most for n, area in sizes)
    assert len(sizes) < 24
    sizes.clear()
    monkeypatch.setattr(augmentation, "_BLOCK", 2**11)
    upright = recipes[recipes["parent_id"] == "000"]
    render_taps(parents, upright, 8)
    assert sizes == [(8, 303 * 7)]


def test_a_picture_in_many_bands_is_thickened_once(monkeypatch) -> None:
    parents, recipes = prepared(GREY[2:], LIVELY, 1)
    calls = []
    monkeypatch.setattr(augmentation, "_BLOCK", 1)
    monkeypatch.setattr(
        augmentation, "thicken", lambda *given: calls.append(given) or thicken(*given)
    )
    render(parents, recipes)
    assert len(calls) == 1


def test_a_candidate_is_the_same_in_every_batch_and_order() -> None:
    parents, recipes = prepared(GREY, LIVELY, 24)
    whole, _, _ = render_taps(parents, recipes, 16)
    order = np.random.default_rng(0).permutation(24)
    assert render_taps(parents, recipes.iloc[order], 16)[0].equal(whole[order])
    for number in (0, 7, 23):
        assert render_taps(parents, recipes.iloc[[number]], 16)[0].equal(whole[[number]])


def test_a_candidate_needs_its_parent_alone() -> None:
    parents, recipes = prepared(GREY, LIVELY, 6)
    alone = Parents(rows_of(GREY)[2:], GREY[2:], LIVELY)
    assert (render(alone, recipes.iloc[[5]]) == render(parents, recipes.iloc[[5]])).all()


def test_grey_parents_look_the_same_among_coloured_ones() -> None:
    alone, recipes = prepared(MIXED[:1], LIVELY, 5)
    mixed = Parents(rows_of(MIXED), MIXED, LIVELY)
    grey = render(alone, recipes.iloc[[4]])
    assert (render(mixed, recipes.iloc[[4]]) == np.repeat(grey, 3, axis=2)).all()


def test_pixels_do_not_depend_on_the_number_of_threads() -> None:
    parents, recipes = prepared(GREY, LIVELY, 24)
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(render_taps(parents, recipes, 64)[0])
    finally:
        torch.set_num_threads(before)
    assert found[0].equal(found[1])


def test_pixels_are_what_they_were() -> None:
    # A change of these bytes needs another CODE_VERSION.
    for params, expected in ((LIVELY, "d7e44f84cfe217ec"), (STRAIGHT, "d9436a6b37a957fa")):
        taps, _, _ = render_taps(*prepared(MIXED, params, 50), 16)
        assert hashlib.sha256(taps.numpy().tobytes()).hexdigest()[:16] == expected


def test_noise_has_its_standard_deviation_and_is_white() -> None:
    parent = np.full((300, 300, 1), 128, dtype=np.uint8)
    noise = candidate(parent, policy(noise=(10, 10)))[:, :, 0].astype(float) - 128
    assert noise.mean() == pytest.approx(0, abs=0.1)
    assert noise.std() == pytest.approx(10, rel=0.01)
    centred = noise - noise.mean()
    spectrum = np.abs(np.fft.fft2(centred)) ** 2
    correlations = np.fft.ifft2(spectrum).real / (centred**2).sum()
    correlations[0, 0] = 0
    assert np.abs(correlations).max() < 0.02
    kurtosis = (centred**4).mean() / noise.var() ** 2
    assert kurtosis == pytest.approx(2.7, abs=0.05)  # four bytes; 3 is the normal distribution


def test_noise_differs_between_candidates_and_is_grey() -> None:
    parent = np.full((60, 60, 3), 128, dtype=np.uint8)
    params = policy(noise=(10, 10))
    first, second = (candidate(parent, params, number).astype(float) for number in (0, 1))
    assert (first == first[:, :, :1]).all()
    assert abs(np.corrcoef(first[:, :, 0].ravel(), second[:, :, 0].ravel())[0, 1]) < 0.06


def test_noise_stays_within_bytes() -> None:
    for colour in (0, 255):
        found = candidate(np.full((50, 50, 1), colour, dtype=np.uint8), policy(noise=(90, 90)))
        assert abs(int(np.median(found)) - colour) < 60
        assert (found == colour).mean() > 0.4


def test_a_square_of_paper_is_erased_anywhere() -> None:
    parent = image(30, 40)
    parent[[0, -1]] = 201
    parent[:, [0, -1]] = 201
    parent[1:-1, 1:-1] //= 2
    params = policy(erasing=(0.2, 0.2), erasing_probability=1.0)
    parents, recipes = prepared([parent], params, 400)
    draws = draw(recipe_seeds(recipes), params)
    corners = set()
    for number in range(400):
        top = int(draws.erasing_y[number] * 25)
        left = int(draws.erasing_x[number] * 35)
        expected = parent.copy()
        expected[top : top + 6, left : left + 6] = 201
        assert (render(parents, recipes.iloc[[number]]) == expected).all()
        corners.add((top, left))
    assert {top for top, _ in corners} == set(range(25))
    assert {left for _, left in corners} == set(range(35))


def test_a_square_of_the_whole_side_fits() -> None:
    params = policy(erasing=(1, 1), erasing_probability=1.0)
    assert (candidate(np.eye(6, dtype=np.uint8)[:, :, None], params) == 0).all()


def test_no_square_is_erased_at_probability_zero() -> None:
    parent = image(20, 20)
    assert (candidate(parent, policy(erasing=(0.5, 0.5))) == parent).all()


def test_paper_is_the_median_of_the_rim() -> None:
    parent = np.zeros((4, 4, 3), dtype=np.uint8)  # 12 pixels on the rim
    parent[0] = [10, 20, 30]
    parent[3] = [10, 20, 200]
    parent[1:3, 1:3] = 255
    assert Parents(rows_of([parent]), [parent], NEUTRAL).paper.tolist() == [[10, 20, 30]]
    moved = candidate(parent, policy(translation=(1, 1)))
    assert (moved == [10, 20, 30]).all()


def test_no_recipe_gives_no_candidate() -> None:
    parents, recipes = prepared(GREY, LIVELY, 0)
    taps, row_fractions, column_fractions = render_taps(parents, recipes, 8)
    assert taps.shape == (0, 1, 16, 16)
    assert row_fractions.shape == column_fractions.shape == (0, 8)
    assert blend_taps(taps, row_fractions, column_fractions).shape == (0, 3, 8, 8)


def test_a_recipe_of_another_policy_is_an_error() -> None:
    parents, recipes = prepared(GREY, LIVELY, 4)
    recipes.loc[1, "policy"] = "v0-12345678"
    expected = f"drawn under policy v0-12345678.*is policy {parents.policy}"
    with pytest.raises(ParamsError, match=expected):
        render_taps(parents, recipes, 8)
    with pytest.raises(ParamsError, match=expected):
        render(parents, recipes.iloc[[1]])


def test_a_recipe_of_an_unknown_parent_is_an_error() -> None:
    parents, recipes = prepared(GREY, LIVELY, 4)
    recipes.loc[1, "parent_id"] = "zzz"
    with pytest.raises(
        DatasetError, match=r"1 parent\(s\) of the recipes, zzz first.*the 3 images"
    ):
        render_taps(parents, recipes, 8)


def test_parents_are_counted() -> None:
    assert len(Parents(rows_of(MIXED), MIXED, NEUTRAL)) == 5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="renders on a GPU")
@pytest.mark.parametrize("params", [NEUTRAL, STRAIGHT, LIVELY])
def test_a_gpu_renders_the_same_bytes(params) -> None:
    images = [image(60, 47), image(47, 60, 3, seed=1), image(300, 280, seed=2), image(5, 9, seed=3)]
    parents, recipes = prepared(images, params, 2_000)
    expected = render_taps(parents, recipes, 32)
    found = render_taps(parents, recipes, 32, torch.device("cuda"))
    assert all(one.equal(other.cpu()) for one, other in zip(expected, found, strict=True))
    blended = blend_taps(*found)
    assert blended.is_cuda
    assert blended.cpu().equal(blend_taps(*expected))
