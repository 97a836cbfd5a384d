"""``params.yaml`` as one frozen, validated object.

A stage reads the file once with :func:`read_params` and hands each function its own section.
All bad keys of a file are reported in one :class:`~databoost.errors.ParamsError`.
"""

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, ValidationInfo, field_validator

from databoost.errors import ParamsError, listed
from databoost.sections import (
    AuditParams,
    Boost,
    BoostParams,
    CandidatesParams,
    DataParams,
    EmbeddingParams,
    EvaluateParams,
    MapParams,
    ModelParams,
    ReportParams,
    RoundName,
    ScoresParams,
    SearchParams,
    Section,
    SplitParams,
    SyntheticParams,
    TrackingParams,
    TrainParams,
)
from databoost.yamlfile import assign, read_yaml, write_yaml


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
        problems = faults(error)
        raise ParamsError(f"{where} has {len(problems)} bad value(s):{listed(problems)}") from error


def faults(error: ValidationError) -> list[str]:
    """Say of each bad key what is wrong with it, one line each."""
    problems = []
    for fault in error.errors():
        key = ".".join(str(part) for part in fault["loc"]) or "the file as a whole"
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "missing":
            message = "is missing; add it, as in the params.yaml that databoost comes with"
        got = "" if fault["type"] in ("missing", "value_error") else f", got {fault['input']!r}"
        problems.append(f"{key}: {message}{got}")
    return problems


def read_params(path: Path) -> Params:
    """Read and validate ``params.yaml``.

    Raises
    ------
    ParamsError
        If the file is missing, is not YAML, or holds bad values (all are listed).
    """
    return parse_params(read_yaml(path), str(path))


def edit_params(
    path: Path, changes: dict[str, Any], check: Callable[[Params], None] = lambda _: None
) -> Params:
    """Set dotted keys in ``params.yaml``, keeping comments and order; all or nothing.

    >>> edit_params(Path("params.yaml"), {"boost.neighbors": 5})  # doctest: +SKIP

    Parameters
    ----------
    path
        The file.
    changes
        Values by key; a whole section may be one.
    check
        Raises for a valid result that is not to be written either.

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
    check(params)
    write_yaml(path, document)
    return params
