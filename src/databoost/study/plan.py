"""A study: arms, each a name and overrides of ``params.yaml``, on the same seeds and sizes."""

import itertools
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from databoost.errors import ParamsError, listed
from databoost.params import Params, faults, parse_params, round_name
from databoost.sections import Positive, Section, Seed
from databoost.yamlfile import assign, read_yaml

ArmName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,59}$")]
#: Sections that an arm may change: those that act after r00 is written.
SECTIONS = ("model", "train", "evaluate", "candidates", "embedding", "search", "boost")
#: Keys that the study sets itself, so that arms differ in nothing but what they name.
_OWN = ("train.seed", "candidates.seed", "search.seed", "boost.seed", "boost.additions")
#: The round that every arm starts from.
FIRST = "r00"
#: Stands in ``embedding.weights`` for the round that failures come from.
PREVIOUS = "{previous}"
#: Weights below it are a round's of the study itself, any others a file of the project.
ROUNDS = "data/rounds/"
_CHECKPOINTS = tuple(f"{ROUNDS}{name}/model/best.ckpt" for name in (FIRST, PREVIOUS))


class Study(Section):
    """The content of a study's file.

    Attributes
    ----------
    rounds
        Rounds after r00.
    additions
        Of every arm in every round, or a list: one number a round. An arm has fewer where it finds
        no more.
    seeds
        Each arm runs once with each: ``train.seed``, ``candidates.seed``, ``search.seed`` and
        ``boost.seed``.
    params
        Dotted keys of ``params.yaml`` that differ from the project's, for every arm.
    arms
        Dotted keys by name of the arm.
    control
        The arm that the plot compares the others with; empty: the first.
    """

    rounds: Annotated[int, Field(ge=1, le=99)]
    additions: Annotated[tuple[Positive, ...], Field(min_length=1)]
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)]
    params: dict[str, Any] = Field(default_factory=dict)
    arms: Annotated[dict[ArmName, dict[str, Any]], Field(min_length=1)]
    control: str = ""

    @field_validator("seeds")
    @classmethod
    def _seeds_are_named_once(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"{list(seeds)} names a seed more than once; name each once")
        return seeds

    @field_validator("additions", mode="before")
    @classmethod
    def _one_number_is_for_all(cls, additions: object) -> object:
        return [additions] if isinstance(additions, int) else additions

    @model_validator(mode="after")
    def _every_round_has_its_additions(self) -> Self:
        if len(self.additions) not in (1, self.rounds):
            raise ValueError(
                f"additions are {len(self.additions)} numbers, rounds are {self.rounds}; give one "
                "number for each round, or one for all"
            )
        return self

    @property
    def schedule(self) -> tuple[int, ...]:
        """Additions of each round after r00."""
        return self.additions if len(self.additions) > 1 else self.additions * self.rounds

    @property
    def compared_with(self) -> str:
        """Name of the control."""
        return self.control or next(iter(self.arms))


def read_study(path: Path, params: Params) -> Study:
    """Read a study's file, and check every arm's parameters.

    Parameters
    ----------
    params
        The project's.

    Raises
    ------
    ParamsError
        If the file is missing or no YAML, and once for all its bad keys.
    """
    if not path.exists():
        raise ParamsError(f"{path} does not exist; `databoost study --help` shows what one says")
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise ParamsError(
            f"{path} must hold the keys {', '.join(Study.model_fields)}, not {values!r}"
        )
    try:
        study = Study.model_validate(values)
    except ValidationError as error:
        problems = faults(error)
        raise ParamsError(f"{path} has {len(problems)} bad value(s):{listed(problems)}") from error
    problems = _problems(study, params)
    if problems:
        raise ParamsError(f"{path} has {len(problems)} bad value(s):{listed(problems)}")
    return study


def arm_params(study: Study, params: Params, arm: str, seed: int) -> Params:
    """Give the parameters of an arm with a seed.

    Everything that the study does not name is as in the project, except ``train.threads``, which
    is 1: two trainings side by side get further than one with two threads.

    Raises
    ------
    ParamsError
        If a key does not exist or a value is bad.
    """
    values = params.model_dump(mode="json")
    values["train"]["threads"] = 1
    unknown = [
        key
        for key, value in (study.params | study.arms[arm]).items()
        if not assign(values, key, value)
    ]
    if unknown:
        raise ParamsError(f"{arm}: params.yaml has no key {', '.join(map(repr, unknown))}")
    for section in ("train", "candidates", "search", "boost"):
        values[section]["seed"] = seed
    values["boost"]["additions"] = study.schedule[0]
    names = [round_name(number) for number in range(study.rounds + 1)]
    values["rounds"] = names
    values["boosts"] = {name: {"previous": before} for before, name in itertools.pairwise(names)}
    values["tracking"]["boost"] = f"{arm}, seed {seed}:"
    return parse_params(values, f"arms.{arm}")


def _problems(study: Study, params: Params) -> list[str]:
    problems = []
    given = {"params": study.params} | {f"arms.{arm}": keys for arm, keys in study.arms.items()}
    for where, keys in given.items():
        for key in keys:
            if "." not in key:
                problems.append(
                    f"{where}: {key} is no dotted key; write them one by one, as in "
                    "boost.strategy: random"
                )
            elif key in _OWN:
                problems.append(f"{where}: {key} is set by the study's own seeds and additions")
            elif key.partition(".")[0] not in SECTIONS:
                problems.append(
                    f"{where}: {key} does not act on r00 as it lies there; allowed are keys of "
                    f"{', '.join(SECTIONS)}"
                )
    if study.control and study.control not in study.arms:
        problems.append(f"control: {study.control!r} is no arm; arms are {', '.join(study.arms)}")
    if not problems:
        for arm in study.arms:
            try:
                own = arm_params(study, params, arm, study.seeds[0])
            except ParamsError as error:
                problems.append(str(error))
            else:
                problems += [f"arms.{arm}: {problem}" for problem in _contradictions(own, study)]
    return problems


def _contradictions(params: Params, study: Study) -> list[str]:
    """List what is allowed key by key, but not in a study."""
    settings, weights = params.boost, params.embedding.weights
    problems = []
    most = max(study.schedule)
    if settings.strategy in ("hardest", "diverse") and settings.pool < most:
        problems.append(
            f"boost.pool is {settings.pool}, of which boost.strategy {settings.strategy} chooses "
            f"{most} additions; allowed is {most} and more"
        )
    if weights.startswith(ROUNDS) and weights not in _CHECKPOINTS:
        problems.append(
            f"embedding.weights is {weights!r}; of rounds, allowed are {' and '.join(_CHECKPOINTS)}"
        )
    return problems
