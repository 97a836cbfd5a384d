"""The two halves of validation."""

from databoost.data.halves import in_mining_half


def test_halves_are_even_and_a_property_of_the_id() -> None:
    names = [f"{number:016x}" for number in range(1_000)]
    mined = in_mining_half(names)
    assert 450 < mined.sum() < 550
    assert in_mining_half(names[::-1]).tolist() == mined[::-1].tolist()
    assert in_mining_half([]).tolist() == []
