"""Optical flow, the whole model, against transformers; and what a model that is to be trained must do."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import HuggingFace
from published import model_frames, random_flow, real_frames, spread, transformers_flow

from perceiver_io import FlowConfig, OpticalFlow, load_checkpoint
from perceiver_io.config import EncoderConfig, FlowStemConfig
from perceiver_io.parts.positions import grid_positions
from perceiver_io.tasks.flow import flow_loss

MINI = FlowConfig(
    encoder=EncoderConfig(num_latents=8, latent_channels=16, layers_per_block=1, self_attention_heads=2),
    train_size=(12, 16),
    fourier_bands=4,
)
CONV = replace(MINI, stem=FlowStemConfig(kind="conv", channels=8, query_channels=6, residual_blocks=1, window_radius=2))


def check_parity(checkpoint: HuggingFace, height: int, width: int) -> None:
    frames = model_frames(*real_frames(height, width))
    expected = transformers_flow(checkpoint.model, frames)[0]
    model = load_checkpoint(checkpoint.folder)
    with torch.no_grad():
        found = model(frames)[0].numpy()
        swapped = model(frames.flip(1))[0].numpy()
    scale = spread(expected)
    assert np.abs(found - expected).max() <= 1e-4 * scale
    assert np.abs(swapped - expected).max() > 0.1 * scale  # the frames' order matters by far more than the tolerance


def test_parity_tiny(tiny: HuggingFace) -> None:
    check_parity(tiny, 40, 56)


@pytest.mark.published_size
@pytest.mark.long
def test_parity_published_size(published: HuggingFace) -> None:
    check_parity(published, 368, 496)


@pytest.mark.parametrize("config", [MINI, CONV], ids=["patches", "conv"])
def test_decoding_some_queries_equals_decoding_all(config: FlowConfig) -> None:
    model = random_flow(config)
    frames = torch.rand(2, 2, 3, 13, 10) * 2 - 1
    some = torch.tensor([0, 7, 64, 129])
    with torch.no_grad():
        dense = model(frames).flatten(1, 2)
        latents, query_features = model.encode(frames)
        positions = grid_positions((13, 10))[some].expand(2, -1, -1)
        sparse = model.decode(latents, query_features[:, some], positions)
    tolerance = 1e-3 * dense.std(dim=1).min().item()
    torch.testing.assert_close(sparse, dense[:, some], rtol=0, atol=tolerance)
    assert (dense[:, some] - dense[:, some.roll(1)]).abs().max() > 100 * tolerance


@pytest.mark.parametrize("config", [MINI, CONV], ids=["patches", "conv"])
def test_training_reaches_every_parameter(config: FlowConfig) -> None:
    model = OpticalFlow(config).train()
    flow_loss(model(torch.rand(1, 2, 3, 12, 16)), torch.randn(1, 12, 16, 2), flow_scale=20.0).backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.abs().any()]
    # A constant added to every key shifts all scores of a query alike, which softmax ignores.
    assert [name for name in without if not name.endswith("attention.key.bias")] == []


def test_dropout_only_in_training() -> None:
    model = OpticalFlow(MINI)
    frames = torch.rand(1, 2, 3, 12, 16)
    with torch.no_grad():
        model.train()
        assert not torch.equal(model(frames), model(frames))
        model.eval()
        assert torch.equal(model(frames), model(frames))


def test_data_parallel_replicas_work() -> None:
    """What DataParallel does to each module, without a GPU: a shallow copy whose parameters are plain tensors (#36035)."""
    model = OpticalFlow(CONV).eval()
    frames = torch.rand(1, 2, 3, 12, 16)
    expected = model(frames)
    replicas = {module: module._replicate_for_data_parallel() for module in model.modules()}  # type: ignore[no-untyped-call]
    for module, replica in replicas.items():
        for name, child in module._modules.items():
            setattr(replica, name, replicas[child])
        for name, parameter in module._parameters.items():
            replica._parameters.pop(name, None)
            setattr(replica, name, None if parameter is None else parameter.detach().clone())
    found = replicas[model](frames)
    assert torch.equal(found, expected)
    assert list(replicas[model].parameters()) == []


def test_flow_loss_is_the_end_point_error_in_pixels() -> None:
    predicted, target = torch.tensor([[0.1, 0.0], [0.0, 0.0]]), torch.tensor([[2.0, 0.0], [3.0, 4.0]])
    assert flow_loss(predicted, target, flow_scale=20.0).item() == pytest.approx(2.5)
