"""A study's jobs: what one process has to do, and how another process is told of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from databoost.data.files import read_json, write_json
from databoost.layout import Layout
from databoost.params import Params, parse_params
from databoost.study.plan import FIRST

Kind = Literal["r00", "candidates", "round"]
_PLAIN = ("name", "kind", "arm", "seed", "round", "needs")


@dataclass(frozen=True)
class Job:
    """One process's work.

    Attributes
    ----------
    name
        Also of its folder.
    kind
        ``r00``: train and evaluate it; ``candidates``: embed those of r00; ``round``: boost, train
        and evaluate a later one.
    root
        Its project.
    start
        Project with r00's images.
    params
        Of this round: with its own additions and its own embedder.
    arm, seed
        Of a round; of the others, the first that needs them.
    round
        Its name.
    base
        Project of the round that it is made from, r00's for candidates; empty for r00.
    candidates
        Project of r00's embedded candidates; empty if it looks at no vectors.
    scores
        Copy of r00's label scores; empty if it does not look at them.
    needs
        Names of the jobs before it.
    """

    name: str
    kind: Kind
    root: Path
    start: Path
    params: Params
    arm: str
    seed: int
    round: str = FIRST
    base: Path | None = None
    candidates: Path | None = None
    scores: Path | None = None
    needs: tuple[str, ...] = ()

    @property
    def layout(self) -> Layout:
        """Its files."""
        return Layout(self.root)

    def is_done(self) -> bool:
        """Whether its result is there."""
        if self.kind == "candidates":
            return self.layout.candidates.exists()
        return self.layout.round(self.round).evaluation.exists()


@dataclass(frozen=True)
class Chain:
    """An arm with a seed: the jobs of its rounds, r00's first, each made from the one before."""

    arm: str
    seed: int
    jobs: tuple[Job, ...]

    @property
    def schedule(self) -> tuple[int, ...]:
        """Additions of each round after r00."""
        return tuple(job.params.boost.additions for job in self.jobs[1:])

    def is_done(self) -> bool:
        """Whether its last round is there."""
        return self.jobs[-1].is_done()


def write_order(path: Path, job: Job) -> None:
    """Write a job down for another process."""
    values = {
        **{name: getattr(job, name) for name in _PLAIN},
        **{name: str(getattr(job, name).resolve()) for name in ("root", "start")},
        **{
            name: str(value.resolve()) if (value := getattr(job, name)) else None
            for name in ("base", "candidates", "scores")
        },
        "params": job.params.model_dump(mode="json"),
    }
    write_json(path, values)


def read_order(path: Path) -> Job:
    """Read what :func:`write_order` wrote."""
    values = read_json(path)
    places = {
        name: Path(values[name]) if values[name] else None
        for name in ("root", "start", "base", "candidates", "scores")
    }
    return Job(
        **{
            **values,
            **places,
            "needs": tuple(values["needs"]),
            "params": parse_params(values["params"], str(path)),
        }
    )
