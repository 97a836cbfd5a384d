"""The sections of ``params.yaml``: every key with its type and bounds."""

from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from databoost.labels import canonical_label, label_fault

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
OpenFraction = Annotated[float, Field(gt=0.0, lt=1.0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(gt=0)]
Sha256 = Annotated[
    str,
    # Some programs print it in capitals.
    BeforeValidator(lambda given: given.strip().lower() if isinstance(given, str) else given),
    Field(pattern=r"^([0-9a-f]{64})?$"),
]
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
    def _classes_are_names(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        faults = [f"{name!r} {fault}" for name in classes if (fault := label_fault(name))]
        if faults:
            raise ValueError(f"{', '.join(faults)}; a class is named as a folder can be")
        classes = tuple(canonical_label(name) for name in classes)
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
    strategy: str = Field(min_length=1)
    cuda_graph: bool
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
    """``candidates``: how many augmentations, and the range that each parameter is drawn from.

    `engine`, where they are rendered and embedded, has no part in the result.
    """

    count: Positive
    seed: Seed
    rotation: Annotated[Range, _within(-180.0, 180.0)]
    translation: Annotated[Range, _within(-1.0, 1.0)]
    scale: Annotated[Range, _within(0.1, 10.0)]
    shear: Annotated[Range, _within(-60.0, 60.0)]
    perspective: Annotated[Range, _within(-0.8, 0.8)]
    elastic: Annotated[Range, _within(0.0, 0.2)]
    thickness: Annotated[Range, _within(-8.0, 8.0)]
    noise: Annotated[Range, _within(0.0, 128.0)]
    erasing: Annotated[Range, _within(0.0, 1.0)]
    erasing_probability: Fraction
    mirror: dict[str, str]
    mirror_probability: Fraction
    engine: Literal["local", "ray"]


class EmbeddingParams(Section):
    """``embedding``: the embedder, which is an architecture, a weights file and an input size.

    `precision` is what a PyTorch network computes in; ``auto`` is bfloat16 where the hardware has
    it, else float32.
    """

    architecture: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    weights: str = Field(min_length=1)
    image_size: Annotated[int, Field(ge=0, le=1024)]
    pixels: Literal["bytes", "unit", "imagenet"]
    batch_size: Positive
    precision: Literal["auto", "float32", "bfloat16"]


class SearchParams(Section):
    """``search``: nearest neighbours by cosine, approximate (Annoy) or exact."""

    method: Literal["annoy", "exact"]
    trees: Positive
    search_k: Positive
    seed: Seed


class BoostParams(Section):
    """``boost``: how a round chooses its additions. Zero stands for "no cap"."""

    strategy: Literal["nearest", "random", "balanced", "failing", "hardest", "diverse", "none"]
    neighbors: Positive
    labels: Literal["any", "same"]
    distinct_parents: bool
    clusters: Count
    random_share: Annotated[float, Field(ge=0.0, lt=1.0)]
    drop_unlike: Annotated[float, Field(ge=0.0, lt=1.0)]
    mine_on: Literal["val", "half"]
    suspects: Literal["ask", "skip"]
    max_margin: Fraction
    pool: Positive
    additions: Count
    max_per_parent: Count
    max_additions: Count
    size_limit: Count
    seed: Seed

    @model_validator(mode="after")
    def _groups_have_no_label_of_their_own(self) -> Self:
        if self.clusters and self.labels == "same":
            raise ValueError(
                f"clusters is {self.clusters} and labels 'same'; a group holds failures of several "
                "labels: set labels to any, or clusters to 0"
            )
        return self


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
