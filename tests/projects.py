"""Small projects in folders of their own, for tests that drive databoost as a person does."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from dvc.repo import Repo

REPOSITORY = Path(__file__).parents[1]
#: A built-in dataset that is drawn, trained on and boosted in seconds.
SMALL = {
    "synthetic.n_train": 60,
    "synthetic.n_val": 30,
    "synthetic.n_test": 20,
    "synthetic.image_size": 64,
    "train.epochs": 2,
    "scores.epochs": 1,
    "scores.folds": 2,
    "train.accelerator": "cpu",
    "train.threads": 1,
    "candidates.count": 300,
    "boost.neighbors": 3,
}


def written_by(stage: dict[str, Any]) -> list[str]:
    """List the outputs of a stage of ``dvc.yaml``; each is a path, or a path with its settings."""
    outs = [path for out in stage["outs"] for path in ([out] if isinstance(out, str) else out)]
    return [*outs, *stage.get("metrics", [])]


class Project:
    """A project in a folder of its own, driven through the commands that a person types."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(
        self, *command: str, check: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the project folder; its streams come back as text."""
        scripts = str(Path(sys.executable).parent)
        variables = os.environ | {
            "PATH": scripts + os.pathsep + os.environ["PATH"],
            "DVC_NO_ANALYTICS": "1",
            "OMP_NUM_THREADS": "1",
        }
        variables.pop("MLFLOW_TRACKING_URI", None)
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=variables | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if check:
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done

    def run_stages(self, *stages: str) -> str:
        """Run stages one after another in one process, which spares most of the imports.

        A stage is written as on the command line, ``train r00``; the output comes back.
        """
        code = (
            "import sys\n"
            "from databoost.cli import main\n"
            "for stage in sys.argv[1:]:\n"
            "    main(stage.split(), standalone_mode=False)\n"
        )
        # Nobody listens on the discard port, so mlflow need not even be imported.
        nowhere = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
        return self.run(sys.executable, "-c", code, *stages, **nowhere).stdout

    def set(self, **changes: object) -> None:
        """Edit params.yaml; dots in keys are written as two underscores."""
        pairs = [f"{key.replace('__', '.')}={value}" for key, value in changes.items()]
        self.run("databoost", "set", *pairs)

    def known_to_dvc(self) -> dict[str, tuple[str, ...]]:
        """Give what each stage depends on and writes, as DVC reads ``dvc.yaml``."""
        self.run("dvc", "init", "--quiet", "--no-scm")
        with Repo(str(self.folder)) as repo:
            return {
                stage.name.replace("@", " "): tuple(
                    str(path.def_path) for path in (*stage.deps, *stage.outs)
                )
                for stage in repo.index.stages
            }


def make_project(folder: Path) -> Project:
    """Lay a project with the built-in dataset made small; not yet a git repository."""
    (folder / "data").mkdir(parents=True)
    settings = ("params.yaml", "dvc.yaml", ".dvcignore", ".gitignore")
    for name in (*settings, "data/corrections.csv", "data/control.csv"):
        shutil.copy(REPOSITORY / name, folder / name)
    # Stages depend on the code; a link would lead DVC out of the repository.
    shutil.copytree(
        REPOSITORY / "src",
        folder / "src",
        ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"),
    )
    project = Project(folder)
    project.run("databoost", "set", *(f"{key}={value}" for key, value in SMALL.items()))
    project.run("databoost", "declare", "r01")
    return project
