"""What every kernel of the book runs under, so that its outputs do not depend on the machine."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"

SETTINGS = {
    "OMP_NUM_THREADS": "1",  # one thread: sums in one order, and two notebooks at a time
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",  # TensorFlow's start-up messages are not part of a page
    "TF_ENABLE_ONEDNN_OPTS": "1",  # a third less time to train; losses differ by 1e-7
    "CUDA_VISIBLE_DEVICES": "-1",  # outputs are stored from the processor
    "KERAS_BACKEND": "tensorflow",
    "PYTHONHASHSEED": "0",
    "PYTHONWARNINGS": "ignore::DeprecationWarning",
    "TQDM_DISABLE": "1",  # a progress bar carries timings, which never repeat
}


def apply() -> None:
    """Set the variables above, and the folders."""
    os.environ.update(SETTINGS)
    folders()


def folders() -> None:
    """Set the folders of data and of trained models where none is set."""
    os.environ.setdefault("COMPANION_CACHE", str(ROOT / ".cache" / "companion"))
    beside = ROOT.parent / "shared" / "data"
    if beside.is_dir():
        os.environ.setdefault("COMPANION_DATA", str(beside))
