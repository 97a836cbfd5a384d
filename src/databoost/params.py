"""``params.yaml`` as frozen, validated sections.

A stage reads the file once with :func:`read_params` and hands each function its own section.
All bad keys of a file are reported in one :class:`~databoost.errors.ParamsError`.
"""

import itertools
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from databoost.errors import ParamsError, listed
from databoost.yamlfile import assign, read_yaml, write_yaml

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
OpenFraction = Annotated[float, Field(gt=0.0, lt=1.0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(gt=0)]
Sha256 = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
RoundName = Annotated[str, Field(pattern=r"^r[0-9]{2,}$")]


class Section(BaseModel):
    """A section of ``params.yaml``: immutable, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataParams(Section):
    """``data``: where the images come from, and the order of their classes."""

    source: str = Field(min_length=1)
    sha256: Sha256
    classes: tuple[str, ...]
    val_fraction: OpenFraction
    seed: Seed

    @field_validator("classes")
    @classmethod
    def _classes_are_named_once(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        repeated = sorted({name for name in classes if classes.count(name) > 1})
        if repeated:
            raise ValueError(f"names {', '.join(repeated)} more than once; name each class once")
        return classes


class SyntheticParams(Section):
    """``synthetic``: the built-in dataset; shares are of the split they name."""

    n_train: Positive
    n_val: Positive
    n_test: Count
    image_size: Annotated[int, Field(ge=64, le=1024)]
    wrong_labels: Annotated[float, Field(ge=0.0, le=0.5)]
    not_numerals: Annotated[float, Field(ge=0.0, le=0.5)]
    leaks: Annotated[float, Field(ge=0.0, le=0.5)]
    unseen_styles: Fraction
    seed: Seed


class SplitParams(Section):
    """``split``: whether ``prepare`` keeps the given train and val or splits them again."""

    strategy: Literal["given", "stratified", "matched"]
    val_fraction: OpenFraction
    seed: Seed


class ModelParams(Section):
    """``model``: the architecture by name and the side of its square input in pixels."""

    architecture: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    image_size: Annotated[int, Field(ge=8, le=1024)]


class TrainParams(Section):
    """``train``: the fixed loop (Adam, cross-entropy) and where it runs.

    On a CPU the results depend on `threads` in their last digits, so it is a parameter and not the
    number of cores that there happen to be.
    """

    epochs: Positive
    batch_size: Positive
    learning_rate: Annotated[float, Field(gt=0.0)]
    epsilon: Annotated[float, Field(gt=0.0)]
    weight_decay: Annotated[float, Field(ge=0.0)]
    seed: Seed
    threads: Annotated[int, Field(ge=1, le=256)]
    accelerator: str
    devices: int | str | tuple[int, ...]
    precision: str | int


class EvaluateParams(Section):
    """``evaluate``: the picture grid of the worst misclassified images."""

    grid_images: Positive


Range = tuple[float, float]


def _within(lowest: float, highest: float) -> AfterValidator:
    def check(given: Range) -> Range:
        low, high = given
        if not lowest <= low <= high <= highest:
            raise ValueError(
                f"[{low:g}, {high:g}] is no range; allowed is [low, high] with "
                f"{lowest:g} <= low <= high <= {highest:g}"
            )
        return given

    return AfterValidator(check)


class CandidatesParams(Section):
    """``candidates``: how many augmentations, and the range that each parameter is drawn from."""

    count: Positive
    seed: Seed
    rotation: Annotated[Range, _within(-180.0, 180.0)]
    translation: Annotated[Range, _within(-1.0, 1.0)]
    scale: Annotated[Range, _within(0.1, 10.0)]
    shear: Annotated[Range, _within(-60.0, 60.0)]
    perspective: Annotated[Range, _within(-0.8, 0.8)]
    thickness: Annotated[Range, _within(-8.0, 8.0)]
    noise: Annotated[Range, _within(0.0, 128.0)]
    erasing: Annotated[Range, _within(0.0, 1.0)]
    erasing_probability: Fraction
    mirror: dict[str, str]
    mirror_probability: Fraction


class EmbeddingParams(Section):
    """``embedding``: the embedder, which is an architecture, a weights file and an input size."""

    architecture: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    weights: str = Field(min_length=1)
    image_size: Annotated[int, Field(ge=0, le=1024)]
    pixels: Literal["bytes", "unit", "imagenet"]
    batch_size: Positive


class SearchParams(Section):
    """``search``: nearest neighbours by cosine, approximate (Annoy) or exact."""

    method: Literal["annoy", "exact"]
    trees: Positive
    search_k: Positive
    seed: Seed


class BoostParams(Section):
    """``boost``: how a round chooses its additions. Zero stands for "no cap"."""

    strategy: Literal["nearest", "random"]
    neighbors: Positive
    labels: Literal["any", "same"]
    max_per_parent: Count
    max_additions: Count
    size_limit: Count
    seed: Seed


class AuditParams(Section):
    """``audit``: from where on something is listed, and what near-duplicates are."""

    nearly_blank: Fraction
    odd_size: Annotated[float, Field(gt=0.0)]
    smallest_side: Positive
    max_bits: Annotated[int, Field(ge=0, le=64)]
    min_similarity: Fraction
    seed: Seed


class ScoresParams(Section):
    """``scores``: the fold models that give every image an out-of-sample prediction."""

    folds: Annotated[int, Field(ge=2, le=50)]
    epochs: Positive
    batch_size: Annotated[int, Field(ge=2)]
    learning_rate: Annotated[float, Field(gt=0.0)]
    neighbors: Positive
    seed: Seed


class MapParams(Section):
    """``map``: UMAP's settings, and how many images are shown."""

    neighbors: Annotated[int, Field(ge=2, le=200)]
    min_dist: Annotated[float, Field(ge=0.0, lt=1.0)]
    metric: Literal["cosine", "euclidean"]
    max_points: Positive
    seed: Seed


class ReportParams(Section):
    """``report``: how much the page shows, and how large its pictures are."""

    image_size: Annotated[int, Field(ge=16, le=512)]
    failures: Positive
    findings: Positive
    suspects: Positive
    outliers: Positive


class TrackingParams(Section):
    """``tracking``: names in MLflow."""

    experiment: str = Field(min_length=1)
    boost: str = Field(min_length=1)


class Boost(Section):
    """One entry of ``boosts``: the round that a round is made from."""

    previous: RoundName


class Params(Section):
    """The whole of ``params.yaml``."""

    data: DataParams
    synthetic: SyntheticParams
    split: SplitParams
    model: ModelParams
    train: TrainParams
    evaluate: EvaluateParams
    candidates: CandidatesParams
    embedding: EmbeddingParams
    search: SearchParams
    boost: BoostParams
    audit: AuditParams
    scores: ScoresParams
    map: MapParams
    report: ReportParams
    tracking: TrackingParams
    rounds: Annotated[tuple[RoundName, ...], Field(min_length=1)]
    boosts: dict[RoundName, Boost]

    @field_validator("rounds")
    @classmethod
    def _rounds_have_no_gap(cls, rounds: tuple[str, ...]) -> tuple[str, ...]:
        expected = [round_name(number) for number in range(len(rounds))]
        if list(rounds) != expected:
            raise ValueError(f"{list(rounds)} has a gap; allowed is {expected}: r00 and on")
        return rounds

    @field_validator("boosts")
    @classmethod
    def _boosts_chain_the_rounds(
        cls, boosts: dict[str, Boost], info: ValidationInfo
    ) -> dict[str, Boost]:
        if "rounds" not in info.data:  # they have a fault of their own
            return boosts
        chain = {name: previous for previous, name in itertools.pairwise(info.data["rounds"])}
        declared = {name: boost.previous for name, boost in boosts.items()}
        if declared != chain:
            raise ValueError(
                f"makes {declared}; rounds needs {chain} (each round from the one before); "
                "`databoost declare rNN` writes both"
            )
        return boosts


def round_name(number: int) -> str:
    """Write the name of a round: ``round_name(3) == "r03"``."""
    return f"r{number:02d}"


def round_number(name: str) -> int:
    """Read the number of a round: ``round_number("r03") == 3``.

    Raises
    ------
    ParamsError
        If `name` is not ``r`` and at least two digits.
    """
    if not re.fullmatch(r"r[0-9]{2,}", name):
        raise ParamsError(f"{name!r} is no round; rounds are called r00, r01, r02, ...")
    return int(name[1:])


def parse_params(values: Any, where: str = "params.yaml") -> Params:
    """Validate the content of ``params.yaml``.

    Raises
    ------
    ParamsError
        Once, naming every bad key with the value received and what is allowed.
    """
    if not isinstance(values, dict):
        raise ParamsError(f"{where} must hold sections (data, train, ...), not {values!r}")
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        problems = []
        for fault in error.errors():
            key = ".".join(str(part) for part in fault["loc"]) or "the file as a whole"
            message = fault["msg"].removeprefix("Value error, ")
            got = "" if fault["type"] in ("missing", "value_error") else f", got {fault['input']!r}"
            problems.append(f"{key}: {message}{got}")
        raise ParamsError(f"{where} has {len(problems)} bad value(s):{listed(problems)}") from error


def read_params(path: Path) -> Params:
    """Read and validate ``params.yaml``.

    Raises
    ------
    ParamsError
        If the file is missing, is not YAML, or holds bad values (all are listed).
    """
    return parse_params(read_yaml(path), str(path))


def edit_params(path: Path, changes: dict[str, Any]) -> Params:
    """Set dotted keys in ``params.yaml``, keeping comments and order; all or nothing.

    >>> edit_params(Path("params.yaml"), {"boost.neighbors": 5})  # doctest: +SKIP

    Returns
    -------
    Params
        The validated result, which is then also what the file holds.

    Raises
    ------
    ParamsError
        If a key does not exist or the result would be invalid; the file is then unchanged.
    """
    document = read_yaml(path)
    unknown = [key for key in changes if not assign(document, key, changes[key])]
    if unknown:
        names = ", ".join(map(repr, unknown))
        raise ParamsError(f"{path} has no key {names}; `databoost params` lists all")
    params = parse_params(document, f"{path} (after the change)")
    write_yaml(path, document)
    return params
