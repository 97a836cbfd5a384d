import numpy as np
import pytest

from databoost.data.scanning import scanned

BAR = np.zeros((60, 80), dtype=np.float32)
BAR[20:40, 30:50] = 1.0


def scan_of(ink, scan, seed=0, image_size=200):
    return scanned(ink, scan, image_size, np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("scan", "values"), [("pencil", {64, 255}), ("pen", {0, 64, 255}), ("photo", None)]
)
def test_a_scan_has_the_sheets_size_and_its_own_grey_levels(scan, values):
    pixels = scan_of(BAR, scan)
    assert pixels.shape == (60, 80, 1)
    assert pixels.dtype == np.uint8
    found = set(np.unique(pixels).tolist())
    if values is None:
        assert len(found) > 30
    else:
        assert found == values


@pytest.mark.parametrize("scan", ["pencil", "pen", "photo"])
def test_ink_is_dark_and_paper_is_light(scan):
    for seed in range(20):
        pixels = scan_of(BAR, scan, seed)[:, :, 0]
        assert pixels[24:36, 34:46].mean() < 140
        assert np.median(pixels[:15]) > 180


@pytest.mark.parametrize("scan", ["pencil", "pen", "photo"])
def test_equal_generators_give_equal_pixels_and_others_do_not(scan):
    np.testing.assert_array_equal(scan_of(BAR, scan, 3), scan_of(BAR, scan, 3))
    assert (scan_of(BAR, scan, 3) != scan_of(BAR, scan, 4)).any()


def test_pencil_thickens_a_dot_to_a_square_as_wide_as_the_image_size_asks():
    dot = np.zeros((40, 40), dtype=np.float32)
    dot[10, 12] = 100.0
    for seed in range(100):
        pixels = scan_of(dot, "pencil", seed)[:, :, 0]
        ys, xs = np.nonzero(pixels == 64)
        if len(ys) == 16:
            break
    assert (ys.min(), ys.max(), xs.min(), xs.max()) == (10, 13, 12, 15)


def test_dust_and_shadows_come_up_in_some_scans_of_blank_paper():
    blank = np.zeros((100, 100), dtype=np.float32)
    shares = [float((scan_of(blank, "pen", seed) < 255).mean()) for seed in range(150)]
    assert 0.0 in shares
    assert any(0.0 < share < 0.003 for share in shares)
    assert any(share > 0.02 for share in shares)
