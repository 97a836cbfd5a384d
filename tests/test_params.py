"""params.yaml: what is accepted, what is refused, and how it is edited."""

import difflib
import shutil
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from projects import REPOSITORY
from pydantic import ValidationError
from ruamel.yaml import YAML

from databoost.errors import ParamsError
from databoost.params import (
    Params,
    edit_params,
    parse_params,
    read_params,
    round_name,
    round_number,
)

SHIPPED = REPOSITORY / "params.yaml"


@pytest.fixture
def values() -> dict[str, Any]:
    return YAML(typ="safe").load(SHIPPED)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return Path(shutil.copy(SHIPPED, tmp_path / "params.yaml"))


def changed(values: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Copy the values with ``section__key=value`` set."""
    copy = deepcopy(values)
    for key, value in changes.items():
        section, _, name = key.partition("__")
        if name:
            copy[section][name] = value
        else:
            copy[section] = value
    return copy


def test_the_shipped_file_is_valid() -> None:
    params = read_params(SHIPPED)
    assert params.data.source == "synthetic"
    assert params.train.batch_size == 8
    assert params.boost.size_limit == 10_000
    assert params.boosts["r01"].previous == "r00"


def test_every_key_of_the_model_is_in_the_shipped_file(values: dict[str, Any]) -> None:
    assert list(values) == list(Params.model_fields)
    for section, keys in parse_params(values).model_dump(exclude={"rounds", "boosts"}).items():
        assert list(values[section]) == list(keys)


def test_sections_are_frozen() -> None:
    params = read_params(SHIPPED)
    with pytest.raises(ValidationError, match="frozen"):
        params.train.epochs = 3


def test_all_bad_values_are_one_error(values: dict[str, Any]) -> None:
    bad = changed(
        values,
        data__val_fraction=1.0,
        data__sha256="abc",
        synthetic__image_size=10,
        train__epochs=0,
        train__learning_rate=float("nan"),
        train__speed=3,
        candidates__rotation=[20, 15],
        candidates__noise=[-1, 5],
        candidates__mirror={"iv": 4},
        search__method="fast",
        rounds=["r00", "r02"],
    )
    del bad["boost"]["seed"]
    with pytest.raises(ParamsError) as caught:
        parse_params(bad)
    message = str(caught.value)
    assert message.startswith("params.yaml has 12 bad value(s):\n")
    for line in (
        "data.val_fraction: Input should be less than 1, got 1.0",
        "data.sha256: String should match pattern '^([0-9a-f]{64})?$', got 'abc'",
        "synthetic.image_size: Input should be greater than or equal to 64, got 10",
        "train.epochs: Input should be greater than 0, got 0",
        "train.learning_rate: Input should be a finite number, got nan",
        "train.speed: Extra inputs are not permitted, got 3",
        "candidates.rotation: [20, 15] is no range; allowed is [low, high] with "
        "-180 <= low <= high <= 180",
        "candidates.noise: [-1, 5] is no range; allowed is [low, high] with "
        "0 <= low <= high <= 128",
        "candidates.mirror.iv: Input should be a valid string, got 4",
        "search.method: Input should be 'annoy' or 'exact', got 'fast'",
        "boost.seed: is missing; add it, as in the params.yaml that databoost comes with",
        "rounds: ['r00', 'r02'] has a gap; allowed is ['r00', 'r01']: r00 and on",
    ):
        assert f"\n  - {line}" in message


@pytest.mark.parametrize(
    ("name", "lowest", "highest"),
    [
        ("rotation", -180, 180),
        ("translation", -1, 1),
        ("scale", 0.1, 10),
        ("shear", -60, 60),
        ("perspective", -0.8, 0.8),
        ("thickness", -8, 8),
        ("elastic", 0, 0.2),
        ("noise", 0, 128),
        ("erasing", 0, 1),
    ],
)
def test_ranges_reach_their_bounds_and_no_further(
    values: dict[str, Any], name: str, lowest: float, highest: float
) -> None:
    key = f"candidates__{name}"
    params = parse_params(changed(values, **{key: [lowest, highest]}))
    assert getattr(params.candidates, name) == (lowest, highest)
    assert parse_params(changed(values, **{key: [highest, highest]}))
    for bad in ([lowest - 0.01, highest], [lowest, highest + 0.01], [highest, lowest]):
        with pytest.raises(ParamsError, match=rf"candidates\.{name}: .* is no range"):
            parse_params(changed(values, **{key: bad}))


@pytest.mark.parametrize(
    ("rounds", "boosts", "message"),
    [
        ([], {}, "rounds: Tuple should have at least 1 item"),
        (["r01"], {}, r"rounds: \['r01'\] has a gap; allowed is \['r00'\]"),
        (["r0"], {}, "rounds.0: String should match pattern"),
        (["r00", "r01"], {}, r"boosts: makes \{\}; rounds needs \{'r01': 'r00'\}"),
        (["r00"], {"r01": {"previous": "r00"}}, r"boosts: makes \{'r01': 'r00'\}; rounds needs"),
        (["r00", "r01"], {"r01": {"previous": "r01"}}, "databoost declare rNN"),
    ],
)
def test_rounds_that_are_no_chain_are_refused(
    values: dict[str, Any], rounds: list[str], boosts: dict[str, Any], message: str
) -> None:
    with pytest.raises(ParamsError, match=message):
        parse_params(changed(values, rounds=rounds, boosts=boosts))


def test_groups_of_failures_have_no_label_of_their_own(values: dict[str, Any]) -> None:
    assert parse_params(changed(values, boost__clusters=3)).boost.clusters == 3
    bad = changed(values, **{"boost__clusters": 3, "boost__labels": "same"})
    with pytest.raises(ParamsError, match="clusters is 3 and labels 'same'"):
        parse_params(bad)


def test_devices_are_what_lightning_takes(values: dict[str, Any]) -> None:
    for given, taken in (("auto", "auto"), (2, 2), ([0, 1], (0, 1))):
        assert parse_params(changed(values, train__devices=given)).train.devices == taken
    with pytest.raises(ParamsError, match=r"train\.devices.*got 1\.5"):
        parse_params(changed(values, train__devices=1.5))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"must hold sections \(data, train, ...\), not None"),
        (b"- 1", r"must hold sections \(data, train, ...\), not \[1\]"),
        (b"data: [", "params.yaml is not readable YAML: "),
        (b"data: 2024-13-45", "params.yaml is not readable YAML: month must be in"),
        (b"data: 1\ndata: 2", "is not readable YAML: .*\n.*\nfound duplicate key"),
        (b"\xe9\xff", "is not readable YAML: 'utf-8' codec"),
    ],
)
def test_a_file_that_is_no_params_file(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    with pytest.raises(ParamsError, match=message):
        read_params(path)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"params\.yaml does not exist; run databoost in a proj"):
        read_params(tmp_path / "params.yaml")
    with pytest.raises(ParamsError, match="cannot be read: Is a directory"):
        read_params(tmp_path)


def test_an_edit_changes_its_lines_alone(file: Path) -> None:
    params = edit_params(
        file, {"boost.neighbors": 5, "candidates.mirror": {"iv": "vi"}, "data.classes": ["b", "a"]}
    )
    assert (params.boost.neighbors, params.data.classes) == (5, ("b", "a"))
    assert params == read_params(file)
    before = SHIPPED.read_text(encoding="utf-8").splitlines()
    after = file.read_text(encoding="utf-8").splitlines()
    lines = [line for line in difflib.unified_diff(before, after, n=0) if line[0] in "+-"][2:]
    gone = [line[1:].partition(":")[0].strip() for line in lines if line.startswith("-")]
    assert gone == ["classes", "mirror", "neighbors"]
    kept = "# candidates added for each misclassified validation image"
    assert any(line.startswith("+  neighbors: 5 ") and line.endswith(kept) for line in lines)


def test_an_edit_to_the_same_value_keeps_every_byte(file: Path) -> None:
    edit_params(file, {"train.epochs": read_params(SHIPPED).train.epochs})
    assert file.read_bytes() == SHIPPED.read_bytes()


@pytest.mark.parametrize("text", ["1" * 64, "12e" + "3" * 61, "0" * 64])
def test_a_digest_that_looks_like_a_number_stays_text(file: Path, text: str) -> None:
    edit_params(file, {"data.sha256": text})
    assert read_params(file).data.sha256 == text


@pytest.mark.parametrize("text", ["a: b #c", "12", "null", "photos (1).zip", "día.zip"])
def test_a_source_is_read_back_as_it_was_written(file: Path, text: str) -> None:
    edit_params(file, {"data.source": text})
    assert read_params(file).data.source == text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train.epochs": 0}, r"\(after the change\) has 1 bad value.*\n.*train\.epochs"),
        ({"train.epochs": 3, "train.speed": 3}, r"has no key 'train\.speed'; `databoost params`"),
        ({"speed": 3, "": 1, "rounds.r00": 2}, r"has no key 'speed', '', 'rounds\.r00'"),
        ({"boost.neighbors.x": 3}, r"has no key 'boost\.neighbors\.x'"),
        ({"a.b.c": 3}, r"has no key 'a\.b\.c'"),
    ],
)
def test_a_refused_edit_leaves_the_file_alone(
    file: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ParamsError, match=message):
        edit_params(file, changes)
    assert file.read_bytes() == SHIPPED.read_bytes()
    assert [path.name for path in file.parent.iterdir()] == ["params.yaml"]


@pytest.mark.parametrize(("number", "name"), [(0, "r00"), (3, "r03"), (99, "r99"), (100, "r100")])
def test_names_of_rounds(number: int, name: str) -> None:
    assert round_name(number) == name
    assert round_number(name) == number


@pytest.mark.parametrize("name", ["", "r1", "03", "r-1", "R01", "r01 ", "r01\n", "r\u0660\u0661"])
def test_what_is_no_name_of_a_round(name: str) -> None:
    with pytest.raises(ParamsError, match="is no round; rounds are called r00, r01"):
        round_number(name)


def test_a_class_named_twice_is_refused(values: dict[str, Any]) -> None:
    assert parse_params(changed(values, data__classes=["b", "a"])).data.classes == ("b", "a")
    with pytest.raises(ParamsError, match=r"data\.classes: names a, c more than once"):
        parse_params(changed(values, data__classes=["a", "c", "b", "c", "a"]))


def test_classes_that_no_folder_can_be_named_as_are_refused(values: dict[str, Any]) -> None:
    message = (
        r"data\.classes: '\.\./\.\./x' holds a slash or a backslash, '' is blank, "
        r"' cat' begins or ends with a blank, .*; a class is named as a folder can be"
    )
    with pytest.raises(ParamsError, match=message):
        parse_params(changed(values, data__classes=["i", "../../x", "", " cat"]))


def test_classes_that_look_alike_are_one(values: dict[str, Any]) -> None:
    composed, apart = "caf\u00e9", "cafe\u0301"
    assert parse_params(changed(values, data__classes=[apart, "b"])).data.classes == (composed, "b")
    with pytest.raises(ParamsError, match=rf"data\.classes: names {composed} more than once"):
        parse_params(changed(values, data__classes=[apart, composed]))


def test_a_digest_may_be_in_capitals(values: dict[str, Any]) -> None:
    digest = "0123456789abcdef" * 4
    assert parse_params(changed(values, data__sha256=f" {digest.upper()}\n")).data.sha256 == digest
