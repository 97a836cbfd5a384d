"""A study's file: what is taken, what is refused, and what becomes of an arm's parameters."""

from pathlib import Path

import pytest
from projects import REPOSITORY

from databoost.errors import ParamsError
from databoost.params import Params, read_params
from databoost.study.plan import Study, arm_params, read_study

GOOD = """
rounds: 2
additions: 40
seeds: [3, 4]
params: {train.epochs: 5, boost.max_per_parent: 7}
arms:
  random: {boost.strategy: random}
  near: {boost.strategy: nearest, boost.max_per_parent: 0, train.threads: 2}
"""


@pytest.fixture
def params() -> Params:
    return read_params(REPOSITORY / "params.yaml")


def written(folder: Path, text: str) -> Path:
    path = folder / "study.yaml"
    path.write_text(text)
    return path


def test_an_arm_is_the_project_with_the_studys_changes_and_its_own(
    tmp_path: Path, params: Params
) -> None:
    study = read_study(written(tmp_path, GOOD), params)
    assert study.compared_with == "random"
    random = arm_params(study, params, "random", 3)
    assert (random.train.seed, random.candidates.seed, random.boost.seed) == (3, 3, 3)
    assert random.search.seed == 3
    assert (random.train.epochs, random.train.threads) == (5, 1)
    assert (random.boost.strategy, random.boost.additions) == ("random", 40)
    assert random.boost.max_per_parent == 7
    assert random.rounds == ("r00", "r01", "r02")
    assert random.boosts["r02"].previous == "r01"
    near = arm_params(study, params, "near", 4)
    assert (near.boost.max_per_parent, near.train.threads, near.train.seed) == (0, 2, 4)
    assert near.search == params.search.model_copy(update={"seed": 4})


def test_the_control_may_be_named(tmp_path: Path, params: Params) -> None:
    assert read_study(written(tmp_path, GOOD + "control: near\n"), params).compared_with == "near"


def test_all_bad_keys_are_listed_at_once(tmp_path: Path, params: Params) -> None:
    bad = "rounds: 0\nadditions: many\nseeds: [1, 1]\narms: {'a/b': {}}\nspeed: 3\n"
    with pytest.raises(ParamsError, match="has 5 bad value") as caught:
        read_study(written(tmp_path, bad), params)
    told = str(caught.value)
    for part in ("rounds: ", "got 0", "additions: ", "names a seed more than once", "a/b", "speed"):
        assert part in told


def test_additions_are_one_number_or_one_a_round(tmp_path: Path, params: Params) -> None:
    study = read_study(written(tmp_path, GOOD), params)
    assert study.schedule == (40,) * study.rounds
    listed = GOOD.replace("additions: 40", f"additions: {list(range(1, study.rounds + 1))}")
    assert read_study(written(tmp_path, listed), params).schedule == tuple(
        range(1, study.rounds + 1)
    )
    for wrong in ("[]", str([1] * (study.rounds + 1))):
        bad = GOOD.replace("additions: 40", f"additions: {wrong}")
        with pytest.raises(ParamsError, match="additions"):
            read_study(written(tmp_path, bad), params)


def test_what_an_arm_may_not_set_is_listed_at_once(tmp_path: Path, params: Params) -> None:
    bad = GOOD + "  worse: {boost.seed: 3, split.seed: 1, data.source: x}\ncontrol: best\n"
    with pytest.raises(ParamsError, match="has 4 bad value") as caught:
        read_study(written(tmp_path, bad), params)
    told = str(caught.value)
    assert "arms.worse: boost.seed is set by the study's own seeds and additions" in told
    assert "arms.worse: split.seed does not act on r00" in told
    assert "control: 'best' is no arm; arms are random, near, worse" in told


def test_unknown_keys_and_bad_values_of_arms_are_listed_by_arm(
    tmp_path: Path, params: Params
) -> None:
    bad = GOOD + "  one: {boost.speed: 3}\n  two: {boost.strategy: best}\n"
    with pytest.raises(ParamsError, match="has 2 bad value") as caught:
        read_study(written(tmp_path, bad), params)
    assert "one: params.yaml has no key 'boost.speed'" in str(caught.value)
    assert "arms.two has 1 bad value" in str(caught.value)


def test_keys_without_a_dot_are_refused_by_name(tmp_path: Path, params: Params) -> None:
    bad = GOOD + "  one: {train: 5}\n  two: {boost: {strategy: random}}\n"
    with pytest.raises(ParamsError, match="has 2 bad value") as caught:
        read_study(written(tmp_path, bad), params)
    assert "arms.one: train is no dotted key; write them one by one" in str(caught.value)
    assert "arms.two: boost is no dotted key" in str(caught.value)


@pytest.mark.parametrize("strategy", ["hardest", "diverse"])
def test_a_pool_that_cannot_give_the_additions_is_refused(
    tmp_path: Path, params: Params, strategy: str
) -> None:
    arm = GOOD + f"  small: {{boost.strategy: {strategy}, boost.pool: %d}}\n"
    with pytest.raises(ParamsError, match=r"arms\.small: boost\.pool is 39, of which .* 40 add"):
        read_study(written(tmp_path, arm % 39), params)
    assert "small" in read_study(written(tmp_path, arm % 40), params).arms
    growing = arm.replace("additions: 40", "additions: [10, 40]")
    with pytest.raises(ParamsError, match=r"boost\.pool is 39, of which .* 40 add"):
        read_study(written(tmp_path, growing % 39), params)
    other = arm.replace(strategy, "random")
    assert "small" in read_study(written(tmp_path, other % 39), params).arms


def test_of_rounds_only_those_have_weights_that_are_there_before(
    tmp_path: Path, params: Params
) -> None:
    arm = GOOD + '  new: {"embedding.weights": "data/rounds/%s/model/best.ckpt"}\n'
    for name in ("r00", "{previous}"):
        assert "new" in read_study(written(tmp_path, arm % name), params).arms
    with pytest.raises(ParamsError, match=r"arms\.new: embedding\.weights is 'data/rounds/r01/"):
        read_study(written(tmp_path, arm % "r01"), params)


def test_a_file_that_is_no_study(tmp_path: Path, params: Params) -> None:
    with pytest.raises(ParamsError, match="must hold the keys rounds, additions, seeds"):
        read_study(written(tmp_path, "- random\n"), params)
    with pytest.raises(ParamsError, match=r"none\.yaml does not exist; `databoost study --help`"):
        read_study(tmp_path / "none.yaml", params)


def test_nothing_is_optional_but_what_has_a_meaning_when_left_out() -> None:
    required = {name for name, field in Study.model_fields.items() if field.is_required()}
    assert required == {"rounds", "additions", "seeds", "arms"}
