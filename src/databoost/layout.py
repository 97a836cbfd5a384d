"""Where each file of a project and of a round lies: the only module that knows."""

from dataclasses import dataclass
from pathlib import Path

#: Splits that make up a snapshot, and splits that no stage trains on, selects with or stops by.
SNAPSHOT_SPLITS = ("train", "val")
HELDOUT_SPLITS = ("test", "label_book")
SPLITS = SNAPSHOT_SPLITS + HELDOUT_SPLITS


@dataclass(frozen=True)
class RoundLayout:
    """The files of one round, below ``data/rounds/<name>``."""

    root: Path
    name: str

    @property
    def manifest(self) -> Path:
        """One row an image of the snapshot."""
        return self.root / "manifest.csv"

    @property
    def dataset(self) -> Path:
        """The snapshot's ImageFolder: ``<train|val>/<class>/<image_id>.<ext>``."""
        return self.root / "dataset"

    @property
    def additions(self) -> Path:
        """One row an image added in this round: which failure asked for it."""
        return self.root / "additions.csv"

    @property
    def boost(self) -> Path:
        """Counts of the boost and the reason to stop, if there is one."""
        return self.root / "boost.json"

    @property
    def model(self) -> Path:
        """Output folder of ``train``."""
        return self.root / "model"

    @property
    def checkpoint(self) -> Path:
        """Weights of the best epoch."""
        return self.model / "best.ckpt"

    @property
    def curve(self) -> Path:
        """One row an epoch."""
        return self.model / "curve.csv"

    @property
    def model_metrics(self) -> Path:
        """Best epoch and its accuracy."""
        return self.model / "metrics.json"

    @property
    def evaluation(self) -> Path:
        """Output folder of ``evaluate``."""
        return self.root / "evaluation"

    @property
    def sheet(self) -> Path:
        """The image sheet: one row an image of every split, worst first."""
        return self.evaluation / "sheet.csv"

    @property
    def metrics(self) -> Path:
        """One object a split."""
        return self.evaluation / "metrics.json"

    @property
    def confusion(self) -> Path:
        """Counts by split, given and predicted label."""
        return self.evaluation / "confusion.csv"

    @property
    def confusion_picture(self) -> Path:
        """The validation confusion matrix as a picture."""
        return self.evaluation / "confusion.png"

    @property
    def misclassified(self) -> Path:
        """Picture grid of the worst misclassified validation images."""
        return self.evaluation / "misclassified.png"


@dataclass(frozen=True)
class Layout:
    """The files of a project; `root` is the folder that holds ``params.yaml``."""

    root: Path

    @property
    def params(self) -> Path:
        """Everything a run depends on."""
        return self.root / "params.yaml"

    @property
    def lock(self) -> Path:
        """What DVC recorded of every stage's last run, in git."""
        return self.root / "dvc.lock"

    @property
    def corrections(self) -> Path:
        """The ledger of corrections, in git."""
        return self.root / "data" / "corrections.csv"

    @property
    def raw(self) -> Path:
        """Images as they came: ``<split>/<class>/<file>``."""
        return self.root / "data" / "raw"

    @property
    def ingest(self) -> Path:
        """Tables that ``ingest`` writes about ``raw``."""
        return self.root / "data" / "ingest"

    @property
    def raw_index(self) -> Path:
        """One row a readable raw image."""
        return self.ingest / "images.csv"

    @property
    def unreadable(self) -> Path:
        """One row a raw file that is no image, with the reason."""
        return self.ingest / "unreadable.csv"

    @property
    def classes(self) -> Path:
        """The classes in their order, one a row."""
        return self.ingest / "classes.csv"

    @property
    def truth(self) -> Path:
        """What is wrong with the synthetic images; read by tests and benchmarks alone."""
        return self.ingest / "truth.csv"

    @property
    def heldout(self) -> Path:
        """Held-out images: ``<test|label_book>/<class>/<image_id>.<ext>``."""
        return self.root / "data" / "heldout"

    @property
    def heldout_manifest(self) -> Path:
        """One row a held-out image."""
        return self.heldout / "manifest.csv"

    @property
    def duplicates(self) -> Path:
        """One row a file that ``prepare`` found more than once, and what became of it."""
        return self.round("r00").root / "duplicates.csv"

    @property
    def candidates(self) -> Path:
        """Output folder of ``candidates``."""
        return self.root / "data" / "candidates"

    @property
    def recipes(self) -> Path:
        """One row a candidate: what regenerates it."""
        return self.candidates / "recipes.parquet"

    @property
    def embeddings(self) -> Path:
        """Unit vectors of the candidates, (N, D) float16."""
        return self.candidates / "embeddings.npy"

    @property
    def index(self) -> Path:
        """Annoy index over the embeddings; empty when the search is exact."""
        return self.candidates / "index.ann"

    @property
    def state(self) -> Path:
        """Unfinished work that a rerun resumes; never an output."""
        return self.root / ".databoost"

    def round(self, name: str) -> RoundLayout:
        """Files of the round `name` (``r00``, ``r01``, ...)."""
        return RoundLayout(self.root / "data" / "rounds" / name, name)
