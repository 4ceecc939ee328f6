"""Perceiver IO on the device: bundles made by `perceiver-export`, run with numpy and ONNX Runtime, never torch.

>>> import perceiver_runtime as pr
>>> flow = pr.load("flow")
>>> field = flow(frame1, frame2)     # uint8 (H, W, 3) twice → float32 (H, W, 2) in pixels
"""

from perceiver_runtime.errors import (
    BackendError,
    InputError,
    IntegrityError,
    PerceiverError,
    ProviderFallbackWarning,
    UsageError,
    VerificationError,
)
from perceiver_runtime.flo import read_flo, write_flo
from perceiver_runtime.flow import FlowPipeline
from perceiver_runtime.flow_image import flow_to_image, warp
from perceiver_runtime.loading import load

__version__ = "0.1.0"

__all__ = [
    "BackendError",
    "FlowPipeline",
    "InputError",
    "IntegrityError",
    "PerceiverError",
    "ProviderFallbackWarning",
    "UsageError",
    "VerificationError",
    "__version__",
    "flow_to_image",
    "load",
    "read_flo",
    "warp",
    "write_flo",
]
