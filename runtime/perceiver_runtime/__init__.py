"""Perceiver IO on the device: bundles made by `perceiver-export`, run with numpy and ONNX Runtime, never torch.

>>> import perceiver_runtime as pr
>>> flow = pr.load("flow")
>>> field = flow(frame1, frame2)     # uint8 (H, W, 3) twice → float32 (H, W, 2) in pixels
>>> mlm = pr.load("fill-mask")
>>> mlm("some words are[MASK*9]")    # what may stand there
"""

from perceiver_runtime.classification import LabelScore
from perceiver_runtime.errors import (
    BackendError,
    InputError,
    IntegrityError,
    PerceiverError,
    ProviderFallbackWarning,
    UsageError,
    VerificationError,
)
from perceiver_runtime.features import FeaturesPipeline
from perceiver_runtime.fill_mask import Candidate, FillMaskPipeline, MaskedSpan
from perceiver_runtime.flo import read_flo, write_flo
from perceiver_runtime.flow import FlowPipeline
from perceiver_runtime.flow_image import flow_to_image, warp
from perceiver_runtime.image_classification import ImageClassificationPipeline
from perceiver_runtime.image_files import read_image
from perceiver_runtime.loading import load
from perceiver_runtime.multimodal import MultimodalPipeline, Reconstruction
from perceiver_runtime.serving.client import connect
from perceiver_runtime.text_classification import TextClassificationPipeline
from perceiver_runtime.version import __version__
from perceiver_runtime.video_files import read_video, write_video
from perceiver_runtime.wav_files import read_wav, write_wav

__all__ = [
    "BackendError",
    "Candidate",
    "FeaturesPipeline",
    "FillMaskPipeline",
    "FlowPipeline",
    "ImageClassificationPipeline",
    "InputError",
    "IntegrityError",
    "LabelScore",
    "MaskedSpan",
    "MultimodalPipeline",
    "PerceiverError",
    "ProviderFallbackWarning",
    "Reconstruction",
    "TextClassificationPipeline",
    "UsageError",
    "VerificationError",
    "__version__",
    "connect",
    "flow_to_image",
    "load",
    "read_flo",
    "read_image",
    "read_video",
    "read_wav",
    "warp",
    "write_flo",
    "write_video",
    "write_wav",
]
