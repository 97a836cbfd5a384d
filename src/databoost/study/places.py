"""Where each file of a study lies: the study's counterpart of :mod:`databoost.layout`.

Every job works in a small project of its own: a folder with ``data/`` as :class:`Layout` knows it,
in which what it shares with others is a link.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class StudyPlaces:
    """The files of a study; `root` is its folder."""

    root: Path

    @property
    def rounds(self) -> Path:
        """One row an arm, seed and round."""
        return self.root / "rounds.csv"

    @property
    def arms(self) -> Path:
        """One row an arm and round: means over seeds."""
        return self.root / "arms.csv"

    @property
    def verdicts(self) -> Path:
        """One row a pair of arms and round."""
        return self.root / "verdicts.csv"

    @property
    def picture(self) -> Path:
        """The plot."""
        return self.root / "study.png"

    @property
    def lock(self) -> Path:
        """Held by the one command that works in the folder."""
        return self.root / "lock"

    def start(self, key: str) -> Path:
        """Project with a copy of r00, the classes and the held-out images."""
        return self.root / "start" / key

    def scores(self, key: str) -> Path:
        """Copy of r00's label scores, which some arms alone look at."""
        return self.root / "start" / f"scores-{key}.csv"

    def job(self, name: str) -> Path:
        """Project of a job."""
        return self.root / "jobs" / name

    def order(self, name: str) -> Path:
        """File that tells a process what its job is."""
        return self.root / "jobs" / f"{name}.json"

    def log(self, name: str) -> Path:
        """All that the process said."""
        return self.root / "jobs" / f"{name}.log"
