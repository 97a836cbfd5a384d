"""What a round's image sheet for people shows: its rows, worst first, and their pictures."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from databoost.candidates.embedding import Embedder, load_embedder
from databoost.data.corrections import read_corrections
from databoost.data.datasets import read_manifest
from databoost.data.files import sha256_of
from databoost.data.images import encode_png, read_image
from databoost.data.resizing import TapStore
from databoost.data.tables import SHEET, Table, read_table
from databoost.errors import DatasetError, listed
from databoost.layout import SNAPSHOT_SPLITS, Layout, RoundLayout
from databoost.ledger_edits import corrections_of
from databoost.model.checkpoints import load_checkpoint
from databoost.model.evaluation import pick_device
from databoost.params import Params
from databoost.views.sheets import PICTURE_SIDE, READ_ONLY, About, write_sheet
from databoost.views.thumbnails import enlarged, model_inputs, thumbnail
