"""Everything databoost raises on purpose.

::

    DataboostError
    ├── ParamsError        params.yaml holds a bad value, or a round is declared wrongly
    ├── SourceError        the images' source is missing, unsafe, altered or empty
    ├── ImageError         one file is not a readable image
    ├── TableError         a table lacks a column, or a cell is not what its column holds
    ├── CorrectionError    data/corrections.csv names an unknown image, class or action
    ├── DatasetError       a snapshot is incomplete, or breaks a rule of the game
    ├── WeightsError       a weights or checkpoint file does not fit its architecture
    └── TrackingError      MLflow was asked for directly (``databoost publish``) and did not answer

A message names the thing, the value received and the values allowed, and says what to do. The
command line prints it without a traceback and exits with status 1, as it does with what the
operating system refuses (a full disk, a folder without rights); everything else that escapes is a
defect of databoost.
"""

from collections.abc import Iterable, Sequence

_N_LISTED = 50


class DataboostError(Exception):
    """Base class: catch it to handle anything that databoost reports about its input."""


class ParamsError(DataboostError):
    """``params.yaml`` is unreadable or holds values out of range; lists all of them at once."""


class SourceError(DataboostError):
    """The source of the images is missing, unsafe, altered, or holds no readable image."""


class ImageError(DataboostError):
    """A file is not an image that can be decoded safely."""


class TableError(DataboostError):
    """A table file lacks a column or holds a value that its column does not allow."""


class CorrectionError(DataboostError):
    """The ledger of corrections does not fit the images; lists every bad line at once."""


class DatasetError(DataboostError):
    """A snapshot and its manifest disagree, or a dataset breaks a rule (size, splits, classes)."""


class WeightsError(DataboostError):
    """A weights file is missing, altered, or does not fit the architecture it is given for."""


class TrackingError(DataboostError):
    """The MLflow store could not be reached by a command that is about nothing else."""


def listed(problems: Iterable[str]) -> str:
    """Join problems into the indented list that ends a message of several faults."""
    return "".join(f"\n  - {problem}" for problem in problems)


def first_listed(problems: Sequence[str]) -> str:
    """List as :func:`listed` does, but of many problems the first 50 and how many are left out."""
    n_left_out = len(problems) - _N_LISTED
    more = [f"and {n_left_out} more"] if n_left_out > 0 else []
    return listed([*problems[:_N_LISTED], *more])
