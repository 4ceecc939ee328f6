"""The parts of the reference against the same parts of transformers."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import PerceiverConfig
from transformers.models.perceiver import modeling_perceiver as theirs

from perceiver_io.config import EncoderConfig, FlowStemConfig
from perceiver_io.loading.huggingface_names import tensor_name
from perceiver_io.parts.attention import CrossAttentionLayer, MultiHeadAttention, SelfAttentionLayer, scaled_dot_product
from perceiver_io.parts.encoder import PerceiverEncoder
from perceiver_io.parts.flow_stem import ConvStem, local_attention
from perceiver_io.parts.positions import TrainablePositions, fourier_features, fourier_frequencies, grid_positions


def copy_weights(ours: nn.Module, other: nn.Module, *, ours_prefix: str, other_prefix: str) -> None:
    state = other.state_dict()
    names = {name: tensor_name("flow", f"{ours_prefix}.{name}").removeprefix(f"{other_prefix}.") for name in ours.state_dict()}
    ours.load_state_dict({name: state[other_name] for name, other_name in names.items()})


@pytest.mark.parametrize("size", [(5,), (4, 7), (2, 3, 4)])
def test_fourier_features(size: tuple[int, ...]) -> None:
    resolution = [2 * side + 1 for side in size]
    expected = theirs.PerceiverFourierPositionEncoding(num_bands=6, max_resolution=resolution)(
        list(size), batch_size=1, device=torch.device("cpu"), dtype=torch.float32
    )[0]
    found = fourier_features(grid_positions(size), fourier_frequencies(6, resolution))
    assert torch.equal(found, expected)
    other_axis_first = fourier_features(grid_positions(size).flip(-1), fourier_frequencies(6, resolution))
    assert len(size) == 1 or not torch.allclose(other_axis_first, expected, atol=0.1)


def test_fourier_features_stay_float32() -> None:
    positions = grid_positions((9, 11))
    exact = fourier_features(positions, fourier_frequencies(64, (368, 496)))
    from_double = fourier_features(positions.double(), fourier_frequencies(64, (368, 496)))
    assert torch.equal(exact, from_double)
    assert exact.dtype == torch.float32


def test_trainable_positions() -> None:
    other = theirs.PerceiverTrainablePositionEncoding(index_dims=10, num_channels=3)
    ours = TrainablePositions(10, 3)
    with torch.no_grad():
        ours.table.copy_(other.position_embeddings)
    assert torch.equal(ours(4), other(4))
    assert ours(4).shape == (4, 10, 3)


@pytest.mark.parametrize("residual", [True, False])
def test_cross_attention_layer(residual: bool) -> None:
    other = theirs.PerceiverLayer(
        PerceiverConfig(), True, qk_channels=8, v_channels=20, num_heads=4, q_dim=12, kv_dim=10, widening_factor=3,
        use_query_residual=residual,
    ).eval()  # fmt: skip
    ours = CrossAttentionLayer(
        q_channels=12, kv_channels=10, heads=4, qk_channels=8, v_channels=20, widening=3, query_residual=residual
    ).eval()
    copy_weights(ours, other, ours_prefix="encoder.cross_attention", other_prefix="perceiver.encoder.cross_attention")
    queries, inputs = torch.randn(2, 5, 12), torch.randn(2, 9, 10)
    expected = other(queries, inputs=inputs)[0]
    torch.testing.assert_close(ours(queries, inputs), expected, rtol=0, atol=1e-6)
    ours.query_residual = not residual
    assert (ours(queries, inputs) - expected).abs().max() > 0.1


def test_self_attention_layer() -> None:
    other = theirs.PerceiverLayer(
        PerceiverConfig(), False, qk_channels=8, v_channels=12, num_heads=2, q_dim=12, kv_dim=12, widening_factor=2
    ).eval()
    ours = SelfAttentionLayer(channels=12, heads=2, qk_channels=8, v_channels=12, widening=2).eval()
    prefix = "encoder.self_attention.0", "perceiver.encoder.self_attends.0"
    copy_weights(ours, other, ours_prefix=prefix[0], other_prefix=prefix[1])
    x = torch.randn(2, 5, 12)
    torch.testing.assert_close(ours(x), other(x)[0], rtol=0, atol=1e-6)


def test_scaled_dot_product_is_torch_s() -> None:
    q, k, v = torch.randn(2, 5, 12), torch.randn(2, 9, 12), torch.randn(2, 9, 8)
    expected = F.scaled_dot_product_attention(
        *(x.view(2, -1, 4, x.shape[-1] // 4).transpose(1, 2) for x in (q, k, v))
    ).transpose(1, 2)
    torch.testing.assert_close(scaled_dot_product(q, k, v, heads=4, mask=None, dropout=0.0), expected.flatten(-2))


def test_heads_must_divide_the_channels() -> None:
    with pytest.raises(ValueError, match="3 heads do not divide 8 query/key and 12 value channels"):
        MultiHeadAttention(q_channels=4, kv_channels=4, heads=3, qk_channels=8, v_channels=12)


def test_blocks_share_their_layers() -> None:
    config = EncoderConfig(num_latents=4, latent_channels=8, num_blocks=3, layers_per_block=2, self_attention_heads=2)
    encoder = PerceiverEncoder(config, input_channels=6).eval()
    inputs = torch.randn(2, 10, 6)
    expected = encoder.cross_attention(encoder.latents.expand(2, -1, -1), inputs)
    for _ in range(3):
        for layer in encoder.self_attention:
            expected = layer(expected)
    assert torch.equal(encoder(inputs), expected)
    assert len(encoder.self_attention) == 2


def test_local_attention_finds_a_shift() -> None:
    first = torch.randn(1, 16, 9, 11)
    second = first.roll((2, -1), dims=(2, 3))  # moved down by 2, left by 1
    weights = local_attention(first, second, radius=2, scale=torch.tensor(50.0))
    assert weights.shape == (1, 25, 9, 11)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(1, 9, 11))
    offsets = weights[0, :, 2:-2, 2:-2].argmax(dim=0)
    assert (offsets == (2 + 2) * 5 + (2 - 1)).all()


@pytest.mark.parametrize("size", [(8, 8), (9, 10), (15, 11)])
def test_conv_stem_has_a_feature_for_every_pixel(size: tuple[int, int]) -> None:
    stem = ConvStem(FlowStemConfig(kind="conv", channels=8, query_channels=5, residual_blocks=1, window_radius=1))
    tokens, query_features = stem(torch.randn(2, 2, 3, *size))
    assert tokens.shape == (2, math.prod(ConvStem.grid_size(*size)), 8)
    assert query_features.shape == (2, math.prod(size), 5)
