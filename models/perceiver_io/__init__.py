"""The reference Perceiver IO in PyTorch: configuration, layers, task models, checkpoint loading.

Use it to train, to fine-tune and as the ground truth of an export. It knows nothing of ONNX. What it does not do: pre-
and post-processing of user data, which is the runtime's.

>>> from perceiver_io import load_checkpoint
>>> model = load_checkpoint("flow-small")
"""

from perceiver_io.config import (
    AudioClassificationConfig,
    DecoderConfig,
    EncoderConfig,
    FeaturesConfig,
    FillMaskConfig,
    FlowConfig,
    FlowStemConfig,
    ImageClassificationConfig,
    ImageInputConfig,
    MultimodalConfig,
    SpectrogramConfig,
    TextClassificationConfig,
    TextInputConfig,
    TokenClassificationConfig,
)
from perceiver_io.config_json import ConfigError, from_json, to_json
from perceiver_io.errors import CheckpointError
from perceiver_io.loading.checkpoint import SHIPPED, find_checkpoint, load_checkpoint, save_checkpoint
from perceiver_io.loading.from_transformers import from_transformers
from perceiver_io.loading.published import PUBLISHED
from perceiver_io.parts.decoders import BasicDecoder, ClassificationDecoder, FlowDecoder, ProjectionDecoder, VideoDecoder
from perceiver_io.parts.encoder import PerceiverEncoder
from perceiver_io.parts.image_preprocessor import ImagePreprocessor
from perceiver_io.parts.multimodal_preprocessor import (
    AudioPreprocessor,
    MultimodalPreprocessor,
    OneHotPreprocessor,
    VideoPreprocessor,
)
from perceiver_io.parts.part import part
from perceiver_io.parts.positions import FourierPositions, LearnedGrid, TrainablePositions
from perceiver_io.parts.postprocessors import (
    AudioPostprocessor,
    ClassificationPostprocessor,
    MultimodalPostprocessor,
    ProjectionPostprocessor,
)
from perceiver_io.parts.queried_decoders import LearnedQueriesDecoder, ModalitiesDecoder, PositionsDecoder
from perceiver_io.parts.recording import Recording, record
from perceiver_io.parts.spectrogram import SpectrogramPreprocessor
from perceiver_io.parts.text_preprocessor import TextPreprocessor
from perceiver_io.tasks.classification import AudioClassifier, ImageClassifier, TextClassifier, classification_loss
from perceiver_io.tasks.features import FeatureExtractor, PerceiverModel
from perceiver_io.tasks.fill_mask import MaskedLanguageModel, fill_mask_loss
from perceiver_io.tasks.flow import OpticalFlow, flow_loss
from perceiver_io.tasks.multimodal import MultimodalAutoencoder, MultimodalDecoder, Reconstruction, multimodal_loss
from perceiver_io.tasks.registry import TASKS, Task
from perceiver_io.tasks.token_classification import TokenClassifier

__all__ = [
    "PUBLISHED",
    "SHIPPED",
    "TASKS",
    "AudioClassificationConfig",
    "AudioClassifier",
    "AudioPostprocessor",
    "AudioPreprocessor",
    "BasicDecoder",
    "CheckpointError",
    "ClassificationDecoder",
    "ClassificationPostprocessor",
    "ConfigError",
    "DecoderConfig",
    "EncoderConfig",
    "FeatureExtractor",
    "FeaturesConfig",
    "FillMaskConfig",
    "FlowConfig",
    "FlowDecoder",
    "FlowStemConfig",
    "FourierPositions",
    "ImageClassificationConfig",
    "ImageClassifier",
    "ImageInputConfig",
    "ImagePreprocessor",
    "LearnedGrid",
    "LearnedQueriesDecoder",
    "MaskedLanguageModel",
    "ModalitiesDecoder",
    "MultimodalAutoencoder",
    "MultimodalConfig",
    "MultimodalDecoder",
    "MultimodalPostprocessor",
    "MultimodalPreprocessor",
    "OneHotPreprocessor",
    "OpticalFlow",
    "PerceiverEncoder",
    "PerceiverModel",
    "PositionsDecoder",
    "ProjectionDecoder",
    "ProjectionPostprocessor",
    "Reconstruction",
    "Recording",
    "SpectrogramConfig",
    "SpectrogramPreprocessor",
    "Task",
    "TextClassificationConfig",
    "TextClassifier",
    "TextInputConfig",
    "TextPreprocessor",
    "TokenClassificationConfig",
    "TokenClassifier",
    "TrainablePositions",
    "VideoDecoder",
    "VideoPreprocessor",
    "classification_loss",
    "fill_mask_loss",
    "find_checkpoint",
    "flow_loss",
    "from_json",
    "from_transformers",
    "load_checkpoint",
    "multimodal_loss",
    "part",
    "record",
    "save_checkpoint",
    "to_json",
]
