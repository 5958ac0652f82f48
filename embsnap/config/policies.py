"""The choices that a configuration offers. Commands offer some of them too, so this imports no pydantic."""

from __future__ import annotations

from enum import StrEnum

from embsnap.model.dtypes import DTYPES, DType

__all__ = ["ColumnStateRule", "DataType", "Mode", "OptimizerStatePolicy", "Placement", "Pooling", "ReservedPolicy"]


class DataType(StrEnum):
    """Element type of a table."""

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"

    @property
    def dtype(self) -> DType:
        """The same as an element type of a snapshot."""
        return DTYPES[{"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}[self.value]]


class Mode(StrEnum):
    """What a live model is built for."""

    TRAIN = "train"
    """Each table's optimizer is fused into the backward pass."""
    EVALUATE = "evaluate"
    """No optimizer, no gradient."""
    INFERENCE = "inference"
    """Frozen."""


class Placement(StrEnum):
    """Where a table on a GPU has its rows."""

    DEVICE = "device"
    """In the GPU's memory."""
    UVM_CACHING = "uvm_caching"
    """In the host's memory, with a cache of rows on the GPU: for tables larger than the GPU."""


class Pooling(StrEnum):
    """How the rows of one bag become one vector."""

    SUM = "sum"
    MEAN = "mean"


class OptimizerStatePolicy(StrEnum):
    """What becomes of a table's optimizer state when its rows move."""

    CARRY = "carry"
    """It follows the rows."""
    RESET = "reset"
    """It starts anew: nothing of it is written."""
    REFUSE = "refuse"
    """It follows the rows exactly, or the warm start is refused: as where the snapshot has none."""


class ColumnStateRule(StrEnum):
    """What one value per row is made of, where each column shard of the old table kept its own."""

    MEAN = "mean"
    """Their mean, weighted by how many columns each had: what one shard of all the columns would have kept."""
    FIRST = "first"
    """That of the first column shard."""


class ReservedPolicy(StrEnum):
    """What fills reserved rows."""

    CARRY = "carry"
    """The old row of the same index."""
    INITIALIZE = "initialize"
    """The table's initializer."""
    ZEROS = "zeros"
