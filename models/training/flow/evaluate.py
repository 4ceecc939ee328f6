"""How good is a flow checkpoint? Mean end-point error against the error of answering zero motion, lower is better.

    python models/training/flow/evaluate.py [--checkpoint flow-small]

Synthetic pairs are made from photographs that training never saw (`HELD_OUT` in data.py). The real pair is scikit-image's
`stereo_motorcycle`, see `python -m perceiver_deploy.demo`, which prints its error.
"""

from __future__ import annotations

import argparse

import torch
from data import HELD_OUT, PairMaker, Pairs, texture_bank
from torch import Tensor

from perceiver_io import OpticalFlow, load_checkpoint


def held_out_pairs(*, count: int, size: tuple[int, int], max_motion: float, seed: int = 1234) -> Pairs:
    """Pairs made from the held-out photographs alone: always the same ones for the same arguments."""
    generator = torch.Generator().manual_seed(seed)
    bank = texture_bank(HELD_OUT, count=100, procedural=0, side=224, generator=generator)
    maker = PairMaker(bank, height=size[0], width=size[1], generator=generator)
    batches = [maker.make(16, max_motion=max_motion) for _ in range(count // 16)]
    return Pairs(torch.cat([b.frames for b in batches]), torch.cat([b.flow for b in batches]))


@torch.no_grad()
def predict(model: OpticalFlow, frames: Tensor) -> Tensor:
    """Flow in pixels of pairs at the checkpoint's own size: (B, H, W, 2)."""
    device = next(model.parameters()).device
    flows = [model(chunk.to(device)).float().cpu() for chunk in frames.split(8)]
    return torch.cat(flows) * model.config.flow_scale


def zero_flow_ratio(model: OpticalFlow, pairs: Pairs) -> float:
    """Mean end-point error divided by the mean length of the true motion."""
    error = torch.linalg.vector_norm(predict(model, pairs.frames) - pairs.flow, dim=-1).mean()
    return float(error / torch.linalg.vector_norm(pairs.flow, dim=-1).mean())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="flow-small")
    parser.add_argument("--count", type=int, default=256, help="synthetic pairs, a multiple of 16")
    arguments = parser.parse_args()
    model = load_checkpoint(arguments.checkpoint)
    for motion in (2.0, 4.0, 8.0):
        pairs = held_out_pairs(count=arguments.count, size=model.config.train_size, max_motion=motion)
        zero = float(torch.linalg.vector_norm(pairs.flow, dim=-1).mean())
        ratio = zero_flow_ratio(model, pairs)
        print(f"motion up to {motion:g} px: error {ratio * zero:.3f} px, zero-flow error {zero:.3f} px, ratio {ratio:.3f}")
