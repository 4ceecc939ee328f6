"""Configurations of the model family, as frozen dataclasses that round-trip through JSON (config_json.py)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from perceiver_io.config_json import ConfigError

Activation = Literal["gelu", "gelu_tanh"]
ProblemType = Literal["single_label", "multi_label", "regression"]

LARGEST = 1 << 24  # of a size that has no limit of its own
LIMITS = {"num_blocks": 1024, "layers_per_block": 1024, "num_self_attends_per_block": 1024, "num_labels": 1 << 20}
MOST_LAYERS = 1024  # blocks times layers
MOST_TOKENS = 1 << 20  # pixels of a frame or an image
MOST_OUTPUTS = 1 << 24  # pixels or samples of a clip
_FROM_ZERO = {"residual_blocks", "window_radius", "input_padding", "query_padding", "neighbours"}


def check_size(name: str, value: int) -> None:
    """Raise `ConfigError` for a size that no model has."""
    least, most = 0 if name in _FROM_ZERO else 1, LIMITS.get(name, LARGEST)
    if not least <= value <= most:
        raise ConfigError(f"{name} is {_shown(value)}, expected {least} to {most}")


def check_count(name: str, count: int, most: int) -> None:
    """Raise `ConfigError` for a product of sizes that would take all memory or time."""
    if count > most:
        raise ConfigError(f"{name} is {count}, at most {most} can be exported")


def _shown(value: int) -> str:
    return str(value) if abs(value) < 1 << 64 else f"a number of {value.bit_length()} bits"


class Sized:
    """Every whole number of a configuration is a size."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            for each in value if isinstance(value, tuple) else (value,):
                if type(each) is int:
                    check_size(name, each)


@dataclass(frozen=True)
class EncoderConfig(Sized):
    """The latent array and the layers that fill and transform it (arXiv 2107.14795, section 3)."""

    num_latents: int = 2048
    latent_channels: int = 512
    num_blocks: int = 1  # how often the same stack of self-attention layers is applied
    layers_per_block: int = 24
    self_attention_heads: int = 16
    cross_attention_heads: int = 1
    qk_channels: int | None = None  # None: the latents' channels (self-attention), see cross_attention_shape (cross)
    v_channels: int | None = None  # None: as many as qk_channels
    cross_attention_shape: Literal["kv", "q"] = "kv"  # whose channels the cross-attention takes when qk_channels is None
    self_attention_widening: int = 1
    cross_attention_widening: int = 1
    query_residual: bool = True
    cross_attentions: int = 1  # how many blocks begin by reading the inputs, with the same weights (2103.03206: several)
    activation: Activation = "gelu"  # "gelu_tanh" is the approximation that DeepMind's own models use
    attention_dropout: float = 0.1
    initializer_range: float = 0.02

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("num_blocks times layers_per_block", self.num_blocks * self.layers_per_block, MOST_LAYERS)
        if not 1 <= self.cross_attentions <= self.num_blocks:
            raise ConfigError(f"cross_attentions is {self.cross_attentions}: give 1 to num_blocks ({self.num_blocks})")


@dataclass(frozen=True)
class DecoderConfig(Sized):
    """The cross-attention from output queries to latents."""

    heads: int = 1
    qk_channels: int | None = None  # None: the latents' channels
    v_channels: int | None = None  # None: as many as qk_channels
    widening: int = 1
    query_residual: bool = False


@dataclass(frozen=True)
class FlowStemConfig(Sized):
    """How two frames become input tokens and query features.

    `patches`: one token per pixel, the 3×3 neighbourhoods of both frames through one linear layer (the published model).
    `conv`: residual convolutions at a quarter of the resolution give the tokens, and a learned upsampling gives every
    pixel its query features (after the paper's lightweight variant).
    """

    kind: Literal["patches", "conv"] = "patches"
    channels: int = 64  # of a token, before positions are appended
    query_channels: int = 64  # of a pixel's query features; equal to `channels` for `patches`
    residual_blocks: int = 0  # `conv` only
    window_radius: int = 0  # `conv` only: how far, in tokens, a match is looked for


@dataclass(frozen=True)
class FlowConfig(Sized):
    """Optical flow. The defaults are the published model, deepmind/optical-flow-perceiver."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    stem: FlowStemConfig = field(default_factory=FlowStemConfig)
    train_size: tuple[int, int] = (368, 496)  # height, width: the tile size, and the Fourier features' resolution
    fourier_bands: int = 64
    rescale_factor: float = 100.0  # the network's output is divided by this
    flow_scale: float = 20.0  # pixels per unit of the model's output (DeepMind's notebook)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("the pixels of train_size", self.train_size[0] * self.train_size[1], MOST_TOKENS)
        if self.stem.kind == "patches" and self.stem.query_channels != self.stem.channels:
            raise ConfigError(
                f"stem.query_channels is {self.stem.query_channels}, but a 'patches' stem queries with its tokens: "
                f"make it equal to stem.channels ({self.stem.channels})"
            )


@dataclass(frozen=True)
class TextInputConfig(Sized):
    """Bytes with learned positions."""

    vocab_size: int = 262  # 256 bytes after 6 special tokens
    max_positions: int = 2048
    channels: int = 768


@dataclass(frozen=True)
class FillMaskConfig(Sized):
    """Masked bytes: a learned query per position, answered in the vocabulary through the input embedding."""

    encoder: EncoderConfig
    decoder: DecoderConfig
    text: TextInputConfig = field(default_factory=TextInputConfig)


@dataclass(frozen=True)
class TextClassificationConfig(Sized):
    """Text to labels."""

    encoder: EncoderConfig
    decoder: DecoderConfig
    labels: tuple[str, ...]
    text: TextInputConfig = field(default_factory=TextInputConfig)
    problem: ProblemType = "single_label"


@dataclass(frozen=True)
class TokenClassificationConfig(Sized):
    """Text to a label for each byte: a query is the byte's own vector, as a pixel's is in the paper's optical flow.

    `neighbours`: how many bytes to either side each of two convolutions puts into that vector, as the 3x3 pixels around one are
    there; 0 for none. `scheme` says how labels make spans: `plain`, or by prefixes; `aggregation` how the runtime merges bytes
    where it is not told. `outside` is the label of what is in no
    span, None where everything is in one.
    """

    encoder: EncoderConfig
    decoder: DecoderConfig
    labels: tuple[str, ...]
    text: TextInputConfig = field(default_factory=TextInputConfig)
    neighbours: int = 0
    scheme: Literal["plain", "iob2", "bioes", "bilou"] = "plain"
    aggregation: Literal["simple", "first", "average", "max", "viterbi"] = "simple"
    outside: str | None = "O"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.outside is not None and self.outside not in self.labels:
            raise ConfigError(
                f"outside is {self.outside!r}, which is none of the labels: give the one for what is in no span, or None"
            )


@dataclass(frozen=True)
class ImageInputConfig(Sized):
    """How an image becomes tokens.

    `pixels`: a token per pixel, every `downsample`-th. `patches`: squares of `downsample` pixels. `conv`: a 7x7 convolution,
    batch normalisation and pooling, to a quarter of the size. `conv1x1`: a linear map of each `downsample`-th pixel.
    Positions are appended: Fourier features, or a learned table with a projection.
    """

    kind: Literal["pixels", "patches", "conv", "conv1x1"]
    size: tuple[int, int]  # height, width of the images trained on
    positions: Literal["fourier", "learned"] = "fourier"
    image_channels: int = 3
    channels: int = 64  # `conv`, `conv1x1`: channels after the convolution
    downsample: int = 1  # `pixels`, `patches`, `conv1x1`
    fourier_bands: int = 64
    max_resolution: tuple[int, int] = (224, 224)  # `fourier`: the resolution whose Nyquist frequency is the highest band
    position_channels: int = 256  # `learned`
    padding: Literal["transformers", "same"] = "transformers"  # `conv`: "same" is what DeepMind's own model does

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("the pixels of an image", self.size[0] * self.size[1], MOST_TOKENS)


@dataclass(frozen=True)
class ImageClassificationConfig(Sized):
    """Images to labels."""

    encoder: EncoderConfig
    decoder: DecoderConfig
    image: ImageInputConfig
    labels: tuple[str, ...]
    problem: ProblemType = "single_label"


@dataclass(frozen=True)
class SpectrogramConfig(Sized):
    """How a window of sound becomes tokens: frames, their log-mel spectrogram, two convolutions, Fourier positions."""

    samples: int = 16_000  # of a window
    sampling_rate: int = 16_000  # Hz
    frame: int = 400  # samples
    hop: int = 160  # samples from a frame to the next
    bands: int = 64  # mel, between the two frequencies
    lowest_hz: int = 60
    highest_hz: int = 7_600
    channels: int = 128  # of a token, before positions are appended
    kernel: int = 5  # frames that each convolution sees
    fourier_bands: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.frame > self.samples:
            raise ConfigError(f"frame is {self.frame}, a window has {self.samples} samples: give no more than that")
        if not self.lowest_hz < self.highest_hz <= self.sampling_rate // 2:
            raise ConfigError(
                f"bands from {self.lowest_hz} to {self.highest_hz} Hz do not fit sound at {self.sampling_rate} Hz: end at half "
                "of that or below"
            )
        if self.kernel % 2 == 0:
            raise ConfigError(f"kernel is {self.kernel}: give an odd number")
        check_count("frame times bands", self.frame * self.bands, MOST_TOKENS)
        check_count("frame times frame", self.frame * self.frame, MOST_OUTPUTS)

    @property
    def tokens(self) -> int:
        """Of a window."""
        frames = (self.samples - self.frame) // self.hop + 1
        return (frames + 1) // 2


@dataclass(frozen=True)
class AudioClassificationConfig(Sized):
    """Sounds to labels."""

    encoder: EncoderConfig
    decoder: DecoderConfig
    audio: SpectrogramConfig
    labels: tuple[str, ...]
    problem: ProblemType = "single_label"


@dataclass(frozen=True)
class MultimodalConfig(Sized):
    """Video, sound and label to themselves: an autoencoder, and with the label left out a classifier."""

    encoder: EncoderConfig
    decoder: DecoderConfig
    labels: tuple[str, ...]
    num_frames: int = 16
    frame_size: tuple[int, int] = (224, 224)
    video_patch: int = 4
    video_bands: int = 32
    video_max_resolution: tuple[int, int, int] = (16, 56, 56)  # frames, height, width
    audio_samples: int = 30720  # of the whole clip
    samples_per_patch: int = 16
    audio_bands: int = 192
    label_query_channels: int = 1024
    output_channels: int = 512  # of the decoder, before each modality's own last layer
    input_padding: int = 4  # learned channels that tell modalities apart, at least
    query_padding: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("the pixels of a clip", self.num_frames * self.frame_size[0] * self.frame_size[1], MOST_OUTPUTS)


@dataclass(frozen=True)
class FeaturesConfig(Sized):
    """The encoder alone: vectors of `channels`, or text, to latents."""

    encoder: EncoderConfig
    channels: int  # of an input vector
    text: TextInputConfig | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.text and self.text.channels != self.channels:
            raise ConfigError(f"channels is {self.channels}, but text gives {self.text.channels}: make them equal")


AnyConfig: TypeAlias = (  # of this project's own tasks
    FlowConfig
    | FillMaskConfig
    | TextClassificationConfig
    | TokenClassificationConfig
    | ImageClassificationConfig
    | AudioClassificationConfig
    | MultimodalConfig
    | FeaturesConfig
)
