"""Models composed by hand, the parts no head uses, losses, and the options that transformers lacks."""

from typing import Any

import pytest
import torch
from heads import HEADS, random_head
from torch import nn
from transformers import PerceiverConfig
from transformers import PerceiverModel as TransformersPerceiverModel
from transformers.models.perceiver import modeling_perceiver as theirs

import perceiver_io as pio
from perceiver_io.loading.huggingface_names import tensor_name
from perceiver_io.parts.image_preprocessor import grid_size, space_to_depth
from perceiver_io.tasks.fill_mask import IGNORED
from perceiver_io.tasks.multimodal import output_positions

ENCODER = pio.EncoderConfig(num_latents=6, latent_channels=16, num_blocks=3, layers_per_block=2, self_attention_heads=4)


def with_varied_weights(model: nn.Module) -> Any:
    """In evaluation mode, with biases and latents that matter."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_(0.3 * torch.randn_like(parameter)) if parameter.ndim == 1 or "latents" in name else None
    return model.eval()


@torch.no_grad()
@pytest.mark.parametrize(("kind", "downsample"), [("pixels", 1), ("patches", 4), ("conv", 1), ("conv1x1", 2)])
@pytest.mark.parametrize("positions", ["fourier", "learned"])
def test_image_preprocessors(kind: Any, downsample: int, positions: Any) -> None:
    """Each kind against transformers' PerceiverImagePreprocessor with the same weights."""
    config = pio.ImageInputConfig(
        kind, (32, 32), positions, channels=8, downsample=downsample, fourier_bands=5, max_resolution=(20, 30),
        position_channels=8,
    )  # fmt: skip
    ours = with_varied_weights(pio.ImagePreprocessor(config))
    cells = grid_size(config)
    encoding = (
        {"position_encoding_type": "fourier", "fourier_position_encoding_kwargs": {"num_bands": 5, "max_resolution": (20, 30)}}
        if positions == "fourier"
        else {
            "position_encoding_type": "trainable",
            "project_pos_dim": 8,
            "trainable_position_encoding_kwargs": {"num_channels": 8, "index_dims": cells[0] * cells[1]},
        }
    )
    step = 4 if kind == "conv" else downsample
    other = theirs.PerceiverImagePreprocessor(
        PerceiverConfig(), prep_type=kind, spatial_downsample=step, out_channels=8, **encoding
    ).eval()
    names = {name: tensor_name("image-classification", f"preprocessor.{name}") for name in ours.state_dict()}
    renamed = {their.removeprefix("perceiver.input_preprocessor."): ours.state_dict()[own] for own, their in names.items()}
    other.load_state_dict(renamed)
    images = torch.randn(2, 3, 32, 32)
    expected, _, _ = other(images)
    assert ours.channels == expected.shape[-1]
    torch.testing.assert_close(ours(images), expected, rtol=0, atol=1e-6)
    assert not torch.allclose(ours(images.flip(-1)), expected, atol=1e-2)


def test_space_to_depth_is_transformers_s() -> None:
    images, video = torch.randn(2, 3, 8, 12), torch.randn(2, 5, 3, 8, 12)
    assert torch.equal(space_to_depth(images, 4), theirs.space_to_depth(images, spatial_block_size=4))
    assert torch.equal(space_to_depth(video, 2), theirs.space_to_depth(video, spatial_block_size=2))


@torch.no_grad()
def test_projection_decoder() -> None:
    config = PerceiverConfig(d_latents=16, num_labels=5)

    class Concrete(theirs.PerceiverProjectionDecoder):  # as it is, a property keeps it abstract
        num_query_channels = 0

    other = Concrete(config)
    ours = pio.ProjectionDecoder(ENCODER, num_labels=5)
    ours.output.load_state_dict(other.classifier.state_dict())
    latents = torch.randn(2, 6, 16)
    assert torch.equal(ours(latents), other(None, latents))


@torch.no_grad()
def test_video_decoder() -> None:
    """All frames at once, some pixels, and transformers' PerceiverBasicVideoAutoencodingDecoder with the same weights."""
    size, resolution = (2, 4, 6), (3, 5, 7)
    ours = with_varied_weights(
        pio.VideoDecoder(pio.DecoderConfig(), ENCODER, size=size, bands=4, max_resolution=resolution, output_channels=3)
    )
    other = theirs.PerceiverBasicVideoAutoencodingDecoder(
        PerceiverConfig(d_latents=16), output_shape=[1, *size], position_encoding_type="fourier", output_num_channels=3,
        num_channels=27, fourier_position_encoding_kwargs={"num_bands": 4, "max_resolution": resolution},
    ).eval()  # fmt: skip
    renamed = {tensor_name("flow", f"decoder.{name}"): tensor for name, tensor in ours.state_dict().items()}
    other.load_state_dict({name.removeprefix("perceiver.decoder."): tensor for name, tensor in renamed.items()})
    latents = torch.randn(1, 6, 16)
    query = other.decoder_query(torch.zeros(1, 3, *size))
    found = ours(latents)
    torch.testing.assert_close(found, other(query, latents).logits, rtol=0, atol=1e-6)
    places = torch.tensor([0, 7, 47])
    grid = torch.stack(torch.meshgrid(*(torch.linspace(-1, 1, side) for side in size), indexing="ij"), dim=-1).flatten(0, 2)
    torch.testing.assert_close(ours(latents, grid[places][None])[0], found.flatten(0, 3)[places], rtol=0, atol=1e-6)
    assert not torch.allclose(ours(latents, grid[places.flip(0)][None])[0], found.flatten(0, 3)[places], atol=1e-3)


@torch.no_grad()
def test_a_task_of_one_s_own() -> None:
    """An image preprocessor and a classification decoder around PerceiverModel, as transformers' PerceiverModel has them."""
    image = pio.ImagePreprocessor(pio.ImageInputConfig("patches", (16, 16), downsample=4, fourier_bands=3))
    decoder = pio.ClassificationDecoder(pio.DecoderConfig(query_residual=True), ENCODER, num_labels=4)
    model = with_varied_weights(pio.PerceiverModel(ENCODER, input_channels=image.channels, preprocessor=image, decoder=decoder))
    config = PerceiverConfig(
        num_latents=6, d_latents=16, num_blocks=3, num_self_attends_per_block=2, num_self_attention_heads=4,
        num_cross_attention_heads=1, num_labels=4,
    )  # fmt: skip
    preprocessor = theirs.PerceiverImagePreprocessor(
        config, prep_type="patches", spatial_downsample=4,
        fourier_position_encoding_kwargs={"num_bands": 3, "max_resolution": (224, 224)},
    )  # fmt: skip
    query = {"num_channels": 16, "index_dims": 1}
    other = TransformersPerceiverModel(
        config,
        input_preprocessor=preprocessor,
        decoder=theirs.PerceiverClassificationDecoder(
            config, num_channels=16, trainable_position_encoding_kwargs=query, use_query_residual=True
        ),
    ).eval()
    renamed = {tensor_name("text-classification", name): tensor for name, tensor in model.state_dict().items()}
    other.load_state_dict({name.removeprefix("perceiver."): tensor for name, tensor in renamed.items()})
    images = torch.randn(2, 3, 16, 16)
    expected = other(images).logits
    torch.testing.assert_close(model(images), expected, rtol=0, atol=1e-5)
    assert not torch.allclose(model(images.flip(-1)), expected, atol=1e-3)
    assert torch.equal(model.encode(images), pio.PerceiverModel.encode(model, images))


@torch.no_grad()
def test_repeated_cross_attention() -> None:
    """One set of weights, read as often as asked: what the original Perceiver does by hand, and once is Perceiver IO."""
    inputs = torch.randn(2, 9, 5)
    once = with_varied_weights(pio.PerceiverModel(ENCODER, input_channels=5))
    several = pio.PerceiverModel(pio.EncoderConfig(**{**vars(ENCODER), "cross_attentions": 2}), input_channels=5).eval()
    several.load_state_dict(once.state_dict())
    assert sum(p.numel() for p in several.parameters()) == sum(p.numel() for p in once.parameters())
    expected = several.encoder.latents.expand(2, -1, -1)
    for block in range(3):
        if block < 2:
            expected = several.encoder.cross_attention(expected, inputs)
        for layer in several.encoder.self_attention:
            expected = layer(expected)
    assert torch.equal(several(inputs), expected)
    assert not torch.allclose(once(inputs), expected, atol=1e-3)
    with pytest.raises(pio.ConfigError, match=r"cross_attentions is 4: give 1 to num_blocks \(3\)"):
        pio.EncoderConfig(**{**vars(ENCODER), "cross_attentions": 4})


@torch.no_grad()
def test_activations() -> None:
    """transformers' gelu_pytorch_tanh, as DeepMind's own models have it."""
    head = HEADS[1]
    from perceiver_io.loading.huggingface import model_config

    config = PerceiverConfig(**head.tiny, hidden_act="gelu_pytorch_tanh")
    assert model_config(config.to_dict() | {"architectures": [head.name]}, ()).encoder.activation == "gelu_tanh"
    layer = pio.PerceiverModel(pio.EncoderConfig(**{**vars(ENCODER), "activation": "gelu_tanh"}), input_channels=5)
    mlp = layer.encoder.self_attention[0].mlp
    x = torch.randn(3, 16)
    expected = mlp.contract(nn.functional.gelu(mlp.expand(x), approximate="tanh"))
    assert torch.equal(mlp(x), expected)
    assert not torch.equal(mlp.contract(nn.functional.gelu(mlp.expand(x))), expected)
    with pytest.raises(pio.ConfigError, match=r"hidden_act is 'relu'; supported: gelu"):
        model_config(config.to_dict() | {"architectures": [head.name], "hidden_act": "relu"}, ())


def test_losses_are_transformers_s(tmp_path: Any) -> None:
    fill_mask, classify = HEADS[0], HEADS[1]
    other = random_head(fill_mask.name, fill_mask.tiny)
    ids = torch.randint(6, 262, (2, 128))
    labels = torch.where(torch.rand(2, 128) < 0.2, ids, IGNORED)
    output = other(inputs=ids, labels=labels)
    assert torch.equal(pio.fill_mask_loss(output.logits, labels), output.loss)
    for problem, targets in (
        ("single_label", torch.tensor([0, 2])),
        ("multi_label", torch.tensor([[0.0, 1, 1], [1, 0, 0]])),
        ("regression", torch.randn(2, 3)),
    ):
        name = "regression" if problem == "regression" else f"{problem}_classification"
        other = random_head(classify.name, {**classify.tiny, "problem_type": name})
        output = other(inputs=ids, labels=targets)
        torch.testing.assert_close(pio.classification_loss(output.logits, targets, problem=problem), output.loss)


def test_multimodal_trains() -> None:
    """The loss that transformers lacks: it falls, and every parameter gets a gradient when the label is given too."""
    config = pio.MultimodalConfig(
        pio.EncoderConfig(num_latents=6, latent_channels=16, layers_per_block=1, self_attention_heads=4, attention_dropout=0.0),
        pio.DecoderConfig(), labels=("a", "b"), num_frames=2, frame_size=(8, 8), video_bands=3, video_max_resolution=(2, 8, 8),
        audio_samples=64, audio_bands=3, label_query_channels=12, output_channels=10,
    )  # fmt: skip
    torch.manual_seed(0)
    model = pio.MultimodalAutoencoder(config)
    video, audio = torch.rand(2, 2, 3, 8, 8), torch.rand(2, 64, 1) - 0.5
    pixels, patches = torch.arange(2 * 8 * 8), torch.arange(4)
    rgb = video.permute(0, 1, 3, 4, 2).flatten(1, 3)
    samples = audio.view(2, 4, 16)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for step in range(60):
        label = torch.eye(2) if step % 2 else None
        found = model(video, audio, pixels=pixels, patches=patches, label=label)
        loss = pio.multimodal_loss(found, rgb, samples, torch.tensor([0, 1]), label_weight=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]
    unused = {"preprocessor.mask.audio", "preprocessor.mask.image", "preprocessor.mask.label"}
    assert {name for name, parameter in model.named_parameters() if parameter.grad is None} <= unused


@pytest.mark.parametrize("published", pio.PUBLISHED.values(), ids=pio.PUBLISHED)
def test_no_container_that_data_parallel_loses(published: Any) -> None:
    with torch.device("meta"):
        model = pio.TASKS[published.task].build(published.config)
    assert not any(isinstance(module, (nn.ParameterDict, nn.ParameterList)) for module in model.modules())


def test_output_positions_are_not_the_grid_s() -> None:
    assert output_positions(torch.tensor([0, 3]), (4,))[:, 0].tolist() == [-1.0, 0.5]


def test_text_beyond_the_positions() -> None:
    text = pio.TextPreprocessor(pio.TextInputConfig(max_positions=4, channels=8))
    with pytest.raises(ValueError, match="5 tokens, but the model has positions for 4: cut the text"):
        text(torch.zeros(1, 5, dtype=torch.int64))
