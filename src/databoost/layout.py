"""Where each file of a project and of a round lies: the only module that knows."""

from dataclasses import dataclass
from pathlib import Path

#: Splits that make up a snapshot, and splits that no stage trains on, selects with or stops by.
SNAPSHOT_SPLITS = ("train", "val")
HELDOUT_SPLITS = ("test", "label_book")
SPLITS = SNAPSHOT_SPLITS + HELDOUT_SPLITS
#: Where ``dvc exp run --temp`` and ``--queue`` copy a project to.
_EXPERIMENTS = (".dvc", "tmp", "exps")


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
    def split(self) -> Path:
        """How train and val were split, and how far they differ; r00 alone has it."""
        return self.root / "split.json"

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

    @property
    def late(self) -> Path:
        """How many late epochs get each image right: in the projects of a study's jobs alone."""
        return self.root / "late.csv"

    @property
    def attribution(self) -> Path:
        """Output folder of ``attribute``; r00 has none."""
        return self.root / "attribution"

    @property
    def traces(self) -> Path:
        """One row an image whose answer was or is wrong and an addition that it traces to."""
        return self.attribution / "traces.csv"

    @property
    def credits(self) -> Path:
        """One row a class, parent and query of the additions: what traces to them."""
        return self.attribution / "credits.csv"

    @property
    def attribution_metrics(self) -> Path:
        """Images by outcome, and how many of them trace to an addition that speaks for it."""
        return self.attribution / "metrics.json"

    @property
    def attribution_inputs(self) -> Path:
        """SHA-256 of what ``attribute`` read of rounds, by which a stale attribution is told."""
        return self.attribution / "inputs.json"


@dataclass(frozen=True)
class Layout:
    """The files of a project; `root` is the folder that holds ``params.yaml``."""

    root: Path

    def home(self) -> Path:
        """Give the project's own folder, from which DVC copies one for an experiment."""
        root = self.root.resolve()
        around = [folder for folder in root.parents if folder.parts[-3:] == _EXPERIMENTS]
        return around[-1].parents[2] if around else root

    @property
    def params(self) -> Path:
        """Everything a run depends on."""
        return self.root / "params.yaml"

    @property
    def pipeline(self) -> Path:
        """The stages, as DVC runs them."""
        return self.root / "dvc.yaml"

    @property
    def lock(self) -> Path:
        """What DVC recorded of every stage's last run, in git."""
        return self.root / "dvc.lock"

    @property
    def corrections(self) -> Path:
        """The ledger of corrections, in git."""
        return self.root / "data" / "corrections.csv"

    @property
    def correction_history(self) -> Path:
        """What each change of the ledger by a command was, for undo: one table a change."""
        return self.state / "corrections"

    @property
    def run_aim(self) -> Path:
        """How many rounds the ``databoost run`` under way is to make, and from where."""
        return self.state / "run.json"

    def unfinished(self, stage: str, round_name: str = "") -> Path:
        """Folder of what a stage that was interrupted goes on from."""
        return self.state / stage / round_name

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
    def raw_written(self) -> Path:
        """Ids and paths of what ``ingest`` wrote into ``raw``, be it unfinished: a JSON list."""
        return self.state / "raw.json"

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
    def embedder(self) -> Path:
        """Precision, which depends on the machine, and weights that embedded the candidates."""
        return self.candidates / "embedder.json"

    @property
    def index(self) -> Path:
        """Annoy index over the embeddings; empty when the search is exact."""
        return self.candidates / "index.ann"

    @property
    def sheets(self) -> Path:
        """Image sheets for people, ``<round>.xlsx``; they hold edits, and are never an output."""
        return self.root / "sheets"

    @property
    def scores(self) -> Path:
        """One row an image of r00: how much its label, and its being any class, are in doubt."""
        return self.round("r00").root / "scores.csv"

    @property
    def audit(self) -> Path:
        """Output folder of ``audit``."""
        return self.root / "data" / "audit"

    @property
    def findings(self) -> Path:
        """One row a finding of the audit."""
        return self.audit / "findings.csv"

    @property
    def audit_summary(self) -> Path:
        """Figures of the audit."""
        return self.audit / "summary.json"

    @property
    def reports(self) -> Path:
        """Pages and pictures for people, and tables to plot."""
        return self.root / "reports"

    @property
    def map_points(self) -> Path:
        """One row an image on the map: its place, and what it can be coloured by."""
        return self.root / "data" / "map" / "points.csv"

    @property
    def map_picture(self) -> Path:
        """The map as a picture."""
        return self.reports / "map.png"

    @property
    def map_page(self) -> Path:
        """The map as a page to search in."""
        return self.reports / "map.html"

    @property
    def report(self) -> Path:
        """The page that shows all rounds."""
        return self.reports / "index.html"

    @property
    def round_progress(self) -> Path:
        """One row a round and split: accuracy, interval, counts."""
        return self.reports / "rounds.csv"

    @property
    def curves(self) -> Path:
        """The learning curves of all rounds."""
        return self.reports / "curves.csv"

    @property
    def confusions(self) -> Path:
        """The confusions of all rounds."""
        return self.reports / "confusion.csv"

    @property
    def control(self) -> Path:
        """A ``rounds.csv`` of another run, which the report shows beside this one; in git."""
        return self.root / "data" / "control.csv"

    @property
    def state(self) -> Path:
        """Unfinished work that a rerun resumes; never an output."""
        return self.root / ".databoost"

    def late_weights(self, name: str) -> Path:
        """Folder of the weights that the `late` table of a round is made of, until it is."""
        return self.state / "late" / name

    def round(self, name: str) -> RoundLayout:
        """Files of the round `name` (``r00``, ``r01``, ...)."""
        return RoundLayout(self.root / "data" / "rounds" / name, name)
