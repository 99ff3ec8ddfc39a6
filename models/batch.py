"""What a loss is computed on."""

from torch import Tensor

Batch = dict[str, Tensor]  # sequences by key: see `models/training.py`
