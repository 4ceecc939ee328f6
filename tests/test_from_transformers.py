"""transformers' PerceiverModel, composed of its parts or of one's own, as ours: equal on random weights, part by part."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import PerceiverConfig, PerceiverForSequenceClassification
from transformers import PerceiverModel as Theirs
from transformers.models.perceiver import modeling_perceiver as theirs

import perceiver_io as pio
import perceiver_runtime as pr
from perceiver_deploy.cli import main as export
from perceiver_io.loading.adapted import AdaptedModel
from perceiver_io.tasks.classification import TextClassifier

CONFIG = PerceiverConfig(
    num_latents=6, d_latents=16, d_model=12, num_blocks=2, num_self_attends_per_block=1, num_self_attention_heads=4,
    num_cross_attention_heads=1, num_labels=3, max_position_embeddings=40, image_size=16, samples_per_patch=4,
)  # fmt: skip


def fourier(bands: int, *resolution: int) -> dict[str, Any]:
    kwargs = {"num_bands": bands, "max_resolution": resolution}
    return {"position_encoding_type": "fourier", "fourier_position_encoding_kwargs": kwargs}


FOURIER, FOURIER_3, FOURIER_1 = fourier(3, 16, 16), fourier(2, 2, 4, 4), fourier(2, 8)


def learned(count: int, channels: int) -> dict[str, Any]:
    return {
        "position_encoding_type": "trainable",
        "trainable_position_encoding_kwargs": {"num_channels": channels, "index_dims": count},
    }


def image(kind: str, **options: Any) -> Any:
    options = {"out_channels": 8, "spatial_downsample": 4 if kind in ("conv", "patches") else 1, **FOURIER, **options}
    return theirs.PerceiverImagePreprocessor(CONFIG, prep_type=kind, **options)


def several() -> Any:
    modalities = {
        "image": theirs.PerceiverImagePreprocessor(CONFIG, prep_type="patches", spatial_downsample=4, **FOURIER_3),
        "audio": theirs.PerceiverAudioPreprocessor(CONFIG, samples_per_patch=4, **FOURIER_1),
        "label": theirs.PerceiverOneHotPreprocessor(CONFIG),
    }
    return theirs.PerceiverMultimodalPreprocessor(modalities, mask_probs={"image": 0.0, "label": 1.0}, min_padding_size=2)


class Doubled(nn.Module):
    """A preprocessor of a user's own."""

    num_channels = 10

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 10)

    def forward(self, inputs: Tensor, interpolate_pos_encoding: bool = False) -> tuple[Tensor, None, Tensor]:
        tokens = self.layer(2 * inputs)
        return tokens, None, tokens


IMAGES = torch.rand(2, 3, 16, 16)
CLIPS = {"image": torch.rand(2, 2, 3, 8, 8), "audio": torch.rand(2, 8, 1), "label": torch.rand(2, 3)}
PREPROCESSORS: dict[str, tuple[Callable[[], Any], Any]] = {
    "none": (lambda: None, torch.rand(2, 9, 12)),
    "text": (lambda: theirs.PerceiverTextPreprocessor(CONFIG), torch.randint(6, 200, (2, 11))),
    "pixels": (lambda: image("pixels"), IMAGES),
    "patches": (lambda: image("patches"), IMAGES),
    "conv": (lambda: image("conv", **fourier(3, 4, 4)), IMAGES),
    "conv1x1": (lambda: image("conv1x1", **learned(256, 8), project_pos_dim=8), IMAGES),
    "conv1x1 added": (lambda: image("conv1x1", **learned(256, 8), concat_or_add_pos="add"), IMAGES),
    "audio": (lambda: theirs.PerceiverAudioPreprocessor(CONFIG, samples_per_patch=4, **FOURIER_1), torch.rand(2, 8, 1)),
    "several": (several, CLIPS),
    "own": (Doubled, torch.rand(2, 7, 5)),
}
ADAPTED = {"conv1x1 added", "own"}  # those that stay as they are


def filled(model: Any) -> Any:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
        for name, buffer in model.named_buffers():
            if buffer.is_floating_point():
                buffer.uniform_(0.5, 1.5) if "var" in name else buffer.normal_(std=0.3)
    return model.eval()


def check(found: Tensor, expected: Tensor, wrong: Tensor) -> None:
    """Equal, up to a fiftieth of how far a wrong answer is off."""
    error, control = (float((other - expected).abs().max()) for other in (found, wrong))
    assert found.shape == expected.shape
    assert error <= 2e-5 + 2e-6 * float(expected.abs().max())
    assert error < control / 50


def classification() -> Any:
    return theirs.PerceiverClassificationDecoder(CONFIG, num_channels=16, use_query_residual=True, **learned(1, 16))


def called(model: Any, given: Any) -> Any:
    """Our model's answer."""
    latents = model.encode(**given) if isinstance(given, dict) else model.encode(given)
    return model.decode(latents)


@torch.no_grad()
@pytest.mark.parametrize("name", PREPROCESSORS)
def test_preprocessors(name: str, tmp_path: Path) -> None:
    """Each with the classification decoder, equal to transformers; what is all ours can be saved."""
    make, given = PREPROCESSORS[name]
    other = filled(Theirs(CONFIG, input_preprocessor=make(), decoder=classification()))
    expected = other(dict(given) if isinstance(given, dict) else given).logits
    model = pio.from_transformers(other)
    ours = {"image": CLIPS["image"], "audio": CLIPS["audio"]} if name == "several" else given  # the label is masked
    torch.testing.assert_close(called(model, ours), expected, rtol=0, atol=2e-5)
    assert expected.std() > 0.05
    assert isinstance(model, AdaptedModel if name in ADAPTED else pio.PerceiverModel)
    if name not in ADAPTED:
        pio.save_checkpoint(model, tmp_path)
        assert torch.equal(called(pio.load_checkpoint(tmp_path), ours), called(model, ours))
    with torch.no_grad():
        other.encoder.self_attends[0].mlp.dense1.weight[0, 0] += 1
    assert not torch.allclose(called(pio.from_transformers(other), ours), expected, atol=1e-4)


class Mean(nn.Module):
    """A decoder of a user's own."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 4)

    def decoder_query(self, inputs: Tensor, *args: Any, **options: Any) -> Tensor:
        return inputs.mean(dim=1, keepdim=True)

    def forward(self, query: Tensor, z: Tensor, query_mask: Any = None, output_attentions: Any = False) -> Any:
        return theirs.PerceiverDecoderOutput(logits=self.layer(z) * query[..., :1])


def basic(**options: Any) -> Any:
    return theirs.PerceiverBasicDecoder(CONFIG, output_num_channels=5, num_heads=2, widening_factor=2, **options)


def decode_with(other: Any, latents: Tensor, query: Any) -> Tensor:
    """transformers' answer: its projection decoder gives a tensor."""
    answer = other.decoder(query, latents)
    return getattr(answer, "logits", answer)


@torch.no_grad()
def test_decoders() -> None:
    """Learned queries, with and without a projection; positions; queries from elsewhere; a baseline; video."""

    class Projection(theirs.PerceiverProjectionDecoder):  # as it is, a property keeps it abstract
        num_query_channels = 0

    Projection.__module__, Projection.__name__ = theirs.__name__, "PerceiverProjectionDecoder"
    video = theirs.PerceiverBasicVideoAutoencodingDecoder(
        CONFIG, output_shape=[2, 2, 4, 4], output_num_channels=3, num_channels=15, **FOURIER_3
    )
    projected = basic(output_index_dims=4, num_channels=10, project_pos_dim=10, out_channels=6, **learned(4, 6))
    places = (torch.rand(1, 9, 2) * 2 - 1).expand(2, -1, -1)
    vectors = torch.rand(2, 9, 14)
    cases: list[tuple[Any, type[nn.Module], Any, Any]] = [
        (classification(), pio.ClassificationDecoder, None, None),
        (basic(output_index_dims=4, num_channels=10, **learned(4, 10)), pio.LearnedQueriesDecoder, None, None),
        (projected, pio.LearnedQueriesDecoder, None, None),
        (basic(position_encoding_type="none", num_channels=14), pio.BasicDecoder, vectors, vectors),
        (basic(output_index_dims=(16, 16), num_channels=14, **FOURIER), pio.PositionsDecoder, places, "fourier"),
        (Projection(CONFIG), pio.ProjectionDecoder, None, None),
        (video, pio.VideoDecoder, None, torch.zeros(2, 3, 2, 4, 4)),
    ]  # fmt: skip
    given = torch.rand(2, 9, 12)
    for decoder, kind, queries, their_query in cases:
        other = filled(Theirs(CONFIG, decoder=decoder))
        model = pio.from_transformers(other)
        assert type(model.decoder) is kind
        latents = model.encode(given)
        inner = getattr(decoder, "decoder", decoder)
        if isinstance(their_query, str):
            query = inner.output_position_encodings((16, 16), 2, torch.device("cpu"), torch.float32, pos=places)
        elif isinstance(their_query, Tensor) and their_query.ndim == 3:
            query = their_query
        else:
            query = decoder.decoder_query(given if their_query is None else their_query)
        expected = decode_with(other, latents, query)
        found = model.decode(latents) if queries is None else model.decode(latents, queries)
        check(found, expected, expected.roll(1, dims=1 if kind is not pio.ProjectionDecoder else 0))


def multimodal(**modalities: Any) -> Any:
    """transformers' decoder of several modalities."""
    return theirs.PerceiverMultimodalDecoder(CONFIG, modalities=modalities, num_outputs=9, output_num_channels=5, num_heads=2)


def placed(shape: tuple[int, ...], *resolution: int) -> Any:
    """Queries that are positions on a grid."""
    return theirs.PerceiverBasicDecoder(
        CONFIG, output_num_channels=5, output_index_dims=shape, position_encoding_only=True, **fourier(2, *resolution)
    )


def postprocessors(*names: str) -> Any:
    made = {
        "image": theirs.PerceiverProjectionPostprocessor(5, 3),
        "audio": theirs.PerceiverAudioPostprocessor(CONFIG, in_channels=5),
        "label": theirs.PerceiverClassificationPostprocessor(CONFIG, in_channels=5),
    }
    return theirs.PerceiverMultimodalPostprocessor({name: made[name] for name in names})


@torch.no_grad()
def test_several_modalities_decoded(tmp_path: Path) -> None:
    """transformers' multimodal decoder with a postprocessor for each, at points of the clip; saved, exported, on a device."""
    label = theirs.PerceiverClassificationDecoder(
        CONFIG, position_encoding_only=True, project_pos_dim=7, out_channels=9, **learned(1, 9)
    )
    decoder = multimodal(image=placed((2, 4, 4), 2, 4, 4), audio=placed((2,), 8), label=label)
    post = postprocessors("image", "audio", "label")
    other = filled(Theirs(CONFIG, input_preprocessor=several(), decoder=decoder, output_postprocessor=post))
    points = {"image": torch.tensor([0, 3, 5, 17, 31]), "audio": torch.tensor([0, 1]), "label": None}
    expected = other(dict(CLIPS), subsampled_output_points=points).logits
    model = pio.from_transformers(other)
    assert type(model.decoder) is pio.ModalitiesDecoder
    given = {name: CLIPS[name] for name in ("image", "audio")}
    positions = {
        "image_positions": -1 + 2 * torch.stack(torch.unravel_index(points["image"], (2, 4, 4)), 1) / torch.tensor([2, 4, 4]),
        "audio_positions": torch.tensor([[-1.0], [0.0]]),
    }
    latents = model.encode(**given)
    found = model.decode(latents, **{name: each.expand(2, -1, -1) for name, each in positions.items()})
    assert list(found) == ["audio_output", "image_output", "label_output"]
    for name, answer in expected.items():
        check(found[f"{name}_output"].reshape(answer.shape), answer, answer.roll(1, dims=-1))
    pio.save_checkpoint(model, tmp_path / "saved")
    command = ["--checkpoint", str(tmp_path / "saved"), "--inputs", "image=array:2,3,8,8", "audio=array:8,1"]
    assert export([*command, "-o", str(tmp_path / "bundle")]) == 0
    item = {name: each[1].numpy() for name, each in given.items()} | {name: each.numpy() for name, each in positions.items()}
    with pr.load(tmp_path / "bundle", task="arrays") as bundle:
        answers = bundle(item, query_chunk=1)
    for name, answer in expected.items():
        torch.testing.assert_close(
            torch.from_numpy(answers[f"{name}_output"]).reshape(answer[1].shape), answer[1], atol=2e-5, rtol=0
        )


@torch.no_grad()
def test_modalities_of_learned_queries() -> None:
    """As many as there are inputs, which transformers decodes without points; without a postprocessor one after the other."""
    options: dict[str, Any] = {"output_num_channels": 5, "position_encoding_only": True}
    counts = {"image": 8, "audio": 2, "label": 1}
    tables = {name: theirs.PerceiverBasicDecoder(CONFIG, **options, **learned(count, 4)) for name, count in counts.items()}
    other = filled(Theirs(CONFIG, input_preprocessor=several(), decoder=multimodal(**tables)))
    expected = other(dict(CLIPS)).logits
    model = pio.from_transformers(other)
    found = model.decode(model.encode(image=CLIPS["image"], audio=CLIPS["audio"]))
    check(torch.cat(list(found.values()), dim=1), expected, expected.roll(1, dims=1))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            lambda: {"decoder": multimodal(image=Asks())},
            r"queries of image \(Asks\) are no learned table .*: give the model encode",
        ),
        (
            lambda: {"decoder": multimodal(image=placed((4,), 4)), "input_preprocessor": Doubled()},
            "Doubled cannot stay as it is beside a multimodal decoder: give the model encode and decode",
        ),
        (
            lambda: {"decoder": multimodal(image=placed((4,), 4)), "output_postprocessor": postprocessors("image", "audio")},
            "the multimodal decoder gives image: the postprocessor should be",
        ),
        (
            lambda: {"decoder": classification(), "output_postprocessor": postprocessors("image")},
            "a multimodal postprocessor is for a multimodal decoder",
        ),
    ],
)
def test_modalities_that_cannot_be_converted(parts: Any, message: str) -> None:
    with pytest.raises(pio.ConfigError, match=message):
        pio.from_transformers(Theirs(CONFIG, **parts()))


class Asks(nn.Module):
    """Makes queries in a way of its own."""

    num_query_channels = 4


@torch.no_grad()
def test_flow_and_decoders_of_one_s_own() -> None:
    """Queries made of the inputs come from `encode`."""
    frames = theirs.PerceiverImagePreprocessor(
        CONFIG, prep_type="patches", spatial_downsample=1, temporal_downsample=2, conv_after_patching=True,
        conv_after_patching_in_channels=54, out_channels=8, **FOURIER,
    )  # fmt: skip
    channels = frames.num_channels
    flow = theirs.PerceiverOpticalFlowDecoder(
        CONFIG, output_image_shape=[6, 7], num_channels=channels, position_encoding_type="none"
    )
    cases = [
        (Theirs(CONFIG, input_preprocessor=frames, decoder=flow), torch.rand(2, 2, 27, 6, 7)),
        (
            Theirs(CONFIG, input_preprocessor=theirs.PerceiverTextPreprocessor(CONFIG), decoder=Mean()),
            torch.randint(6, 200, (2, 9)),
        ),
    ]
    for other, given in cases:
        expected = filled(other)(given).logits
        model = pio.from_transformers(other)
        assert isinstance(model, AdaptedModel)
        check(model(given), expected, model(given.flip(0)))


@torch.no_grad()
def test_postprocessors() -> None:
    given = torch.rand(2, 9, 12)
    for post, kind in (
        (theirs.PerceiverProjectionPostprocessor(5, 2), pio.ProjectionPostprocessor),
        (theirs.PerceiverClassificationPostprocessor(CONFIG, in_channels=5), pio.ClassificationPostprocessor),
    ):
        decoder = basic(output_index_dims=4, num_channels=10, **learned(4, 10))
        other = filled(Theirs(CONFIG, decoder=decoder, output_postprocessor=post))
        model = pio.from_transformers(other)
        assert type(model.postprocessor) is kind
        torch.testing.assert_close(called(model, given), other(given).logits, rtol=0, atol=2e-5)


@torch.no_grad()
def test_heads_and_masks() -> None:
    other = filled(PerceiverForSequenceClassification(CONFIG))
    ids, mask = torch.randint(6, 200, (2, 11)), torch.ones(2, 11, dtype=torch.int64)
    mask[1, 6:] = 0
    model = pio.from_transformers(other)
    assert isinstance(model, TextClassifier)
    torch.testing.assert_close(model(ids, mask), other(ids, attention_mask=mask).logits, rtol=0, atol=2e-5)
    composed = filled(Theirs(CONFIG, input_preprocessor=theirs.PerceiverTextPreprocessor(CONFIG), decoder=classification()))
    ours = pio.from_transformers(composed)
    found = ours.decode(ours.encode(ids, mask=mask))
    torch.testing.assert_close(found, composed(ids, attention_mask=mask).logits, rtol=0, atol=2e-5)
    assert not torch.allclose(found, composed(ids).logits, atol=1e-3)


def test_what_it_refuses() -> None:
    with pytest.raises(pio.ConfigError, match="Linear is no model of transformers"):
        pio.from_transformers(nn.Linear(2, 2))
    with pytest.raises(pio.ConfigError, match="drop items of the batch"):
        pio.from_transformers(Theirs(CONFIG, input_preprocessor=image("pixels", spatial_downsample=2)))
