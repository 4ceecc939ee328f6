"""Perceiver IO on the device: bundles made by `perceiver-export`, run with numpy and ONNX Runtime, never torch.

>>> import perceiver_runtime as pr
>>> flow = pr.load("flow")
>>> field = flow(frame1, frame2)     # uint8 (H, W, 3) twice → float32 (H, W, 2) in pixels
>>> mlm = pr.load("fill-mask")
>>> mlm("some words are[MASK*9]")    # what may stand there
"""

from perceiver_runtime.common.errors import (
    BackendError,
    InputError,
    IntegrityError,
    PerceiverError,
    ProviderFallbackWarning,
    UsageError,
    VerificationError,
)
from perceiver_runtime.common.version import __version__
from perceiver_runtime.files.flo import read_flo, write_flo
from perceiver_runtime.files.images import read_image
from perceiver_runtime.files.videos import read_video, write_video
from perceiver_runtime.files.wav import read_wav, write_wav
from perceiver_runtime.processing.flow_image import flow_to_image, warp
from perceiver_runtime.serving.connecting import connect
from perceiver_runtime.tasks.arrays.pipeline import ArraysPipeline
from perceiver_runtime.tasks.audio_classification.pipeline import AudioClassificationPipeline, SoundLabels
from perceiver_runtime.tasks.features.pipeline import FeaturesPipeline
from perceiver_runtime.tasks.fill_mask.pipeline import Candidate, FillMaskPipeline, MaskedSpan
from perceiver_runtime.tasks.flow.pipeline import FlowPipeline
from perceiver_runtime.tasks.image_classification.pipeline import ImageClassificationPipeline
from perceiver_runtime.tasks.labels import LabelScore
from perceiver_runtime.tasks.loading import load
from perceiver_runtime.tasks.multimodal.pipeline import MultimodalPipeline, Reconstruction
from perceiver_runtime.tasks.object_detection.picture import draw_boxes
from perceiver_runtime.tasks.object_detection.pipeline import DetectedObject, ObjectDetectionPipeline
from perceiver_runtime.tasks.question_answering.pipeline import QuestionAnsweringPipeline, TextAnswer
from perceiver_runtime.tasks.text_classification.pipeline import TextClassificationPipeline
from perceiver_runtime.tasks.token_classification.pipeline import TextSpan, TokenClassificationPipeline
from perceiver_runtime.tasks.video_classification.pipeline import VideoClassificationPipeline

__all__ = [
    "ArraysPipeline",
    "AudioClassificationPipeline",
    "BackendError",
    "Candidate",
    "DetectedObject",
    "FeaturesPipeline",
    "FillMaskPipeline",
    "FlowPipeline",
    "ImageClassificationPipeline",
    "InputError",
    "IntegrityError",
    "LabelScore",
    "MaskedSpan",
    "MultimodalPipeline",
    "ObjectDetectionPipeline",
    "PerceiverError",
    "ProviderFallbackWarning",
    "QuestionAnsweringPipeline",
    "Reconstruction",
    "SoundLabels",
    "TextAnswer",
    "TextClassificationPipeline",
    "TextSpan",
    "TokenClassificationPipeline",
    "UsageError",
    "VerificationError",
    "VideoClassificationPipeline",
    "__version__",
    "connect",
    "draw_boxes",
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
