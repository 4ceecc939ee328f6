"""The reference Perceiver IO in PyTorch: configuration, layers, task models, checkpoint loading.

Use it to train, to fine-tune and as the ground truth of an export. It knows nothing of ONNX. What it does not do: pre-
and post-processing of user data, which is the runtime's.

>>> from perceiver_io import load_checkpoint
>>> model = load_checkpoint("flow-small")
"""

from perceiver_io.checkpoint import SHIPPED, TASKS, CheckpointError, find_checkpoint, load_checkpoint, save_checkpoint
from perceiver_io.config import ConfigError, FlowConfig, to_json
from perceiver_io.flow import OpticalFlow

__all__ = [
    "SHIPPED",
    "TASKS",
    "CheckpointError",
    "ConfigError",
    "FlowConfig",
    "OpticalFlow",
    "find_checkpoint",
    "load_checkpoint",
    "save_checkpoint",
    "to_json",
]
