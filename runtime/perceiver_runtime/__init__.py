"""Perceiver IO on the device: bundles made by `perceiver-export`, run with numpy and ONNX Runtime, never torch.

>>> import perceiver_runtime as pr
>>> flow = pr.load("flow")
>>> field = flow(frame1, frame2)     # uint8 (H, W, 3) twice → float32 (H, W, 2) in pixels
>>> mlm = pr.load("fill-mask")
>>> mlm("some words are[MASK*9]")    # what may stand there
"""

from perceiver_runtime.common.errors import (
    BackendError,
    DamagedFileWarning,
    InputError,
    IntegrityError,
    PerceiverError,
    ProviderFallbackWarning,
    UnpinnedWarning,
    UsageError,
    VerificationError,
)
from perceiver_runtime.common.version import __version__
from perceiver_runtime.files.clip_writers import clip_writer
from perceiver_runtime.files.containers.reading import TimedFrame
from perceiver_runtime.files.flo import read_flo, write_flo
from perceiver_runtime.files.frames import Video, open_video
from perceiver_runtime.files.images import read_image
from perceiver_runtime.files.pictures.kitti import read_kitti_flow, write_kitti_flow
from perceiver_runtime.files.videos import read_sound, read_video, write_video
from perceiver_runtime.files.wav import Sound, read_wav, write_wav
from perceiver_runtime.processing.flow_image import flow_to_image, warp
from perceiver_runtime.processing.image import from_bgr
from perceiver_runtime.serving.connecting import connect
from perceiver_runtime.tasks.arrays.pipeline import ArraysPipeline
from perceiver_runtime.tasks.audio_classification.pipeline import AudioClassificationPipeline, SoundLabels
from perceiver_runtime.tasks.features.latents import Latents
from perceiver_runtime.tasks.features.pipeline import FeaturesPipeline
from perceiver_runtime.tasks.fill_mask.pipeline import FillMaskPipeline
from perceiver_runtime.tasks.fill_mask.spans import Candidate, MaskedSpan, MaskedSpans
from perceiver_runtime.tasks.flow.field import FlowField
from perceiver_runtime.tasks.flow.pair import EncodedPair
from perceiver_runtime.tasks.flow.pipeline import FlowPipeline
from perceiver_runtime.tasks.flow.stream import FlowStream
from perceiver_runtime.tasks.flow.track import Tracked
from perceiver_runtime.tasks.image_classification.pipeline import ImageClassificationPipeline
from perceiver_runtime.tasks.labels import LabelScore, LabelScores
from perceiver_runtime.tasks.loading import load
from perceiver_runtime.tasks.multimodal.clip import EncodedClip
from perceiver_runtime.tasks.multimodal.pipeline import MultimodalPipeline, Reconstruction
from perceiver_runtime.tasks.object_detection.objects import DetectedObject, DetectedObjects
from perceiver_runtime.tasks.object_detection.picture import draw_boxes
from perceiver_runtime.tasks.object_detection.pipeline import ObjectDetectionPipeline
from perceiver_runtime.tasks.question_answering.pipeline import QuestionAnsweringPipeline, TextAnswer, TextAnswers
from perceiver_runtime.tasks.text_classification.pipeline import TextClassificationPipeline
from perceiver_runtime.tasks.token_classification.pipeline import TextSpan, TextSpans, TokenClassificationPipeline
from perceiver_runtime.tasks.video_classification.pipeline import VideoClassificationPipeline

__all__ = [
    "ArraysPipeline",
    "AudioClassificationPipeline",
    "BackendError",
    "Candidate",
    "DamagedFileWarning",
    "DetectedObject",
    "DetectedObjects",
    "EncodedClip",
    "EncodedPair",
    "FeaturesPipeline",
    "FillMaskPipeline",
    "FlowField",
    "FlowPipeline",
    "FlowStream",
    "ImageClassificationPipeline",
    "InputError",
    "IntegrityError",
    "LabelScore",
    "LabelScores",
    "Latents",
    "MaskedSpan",
    "MaskedSpans",
    "MultimodalPipeline",
    "ObjectDetectionPipeline",
    "PerceiverError",
    "ProviderFallbackWarning",
    "QuestionAnsweringPipeline",
    "Reconstruction",
    "Sound",
    "SoundLabels",
    "TextAnswer",
    "TextAnswers",
    "TextClassificationPipeline",
    "TextSpan",
    "TextSpans",
    "TimedFrame",
    "TokenClassificationPipeline",
    "Tracked",
    "UnpinnedWarning",
    "UsageError",
    "VerificationError",
    "Video",
    "VideoClassificationPipeline",
    "__version__",
    "clip_writer",
    "connect",
    "draw_boxes",
    "flow_to_image",
    "from_bgr",
    "load",
    "open_video",
    "read_flo",
    "read_image",
    "read_kitti_flow",
    "read_sound",
    "read_video",
    "read_wav",
    "warp",
    "write_flo",
    "write_kitti_flow",
    "write_video",
    "write_wav",
]
