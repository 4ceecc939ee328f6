"""Train the small optical-flow checkpoint that ships with perceiver_io.

    python models/training/flow/train.py --minutes 90 --out flow-small
    python models/training/flow/train.py --resume --out flow-small      # go on after an interruption

Pairs are made as training goes (see data.py) and each batch is used several times, flipped. Motion grows from 4 to 9
pixels over the first fifth of training; the learning rate follows a cosine of the time or steps used. Needs scikit-image,
scikit-learn, matplotlib and pillow for the photographs. Takes a seed; two runs agree only in steps, not in wall time.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import torch
from data import TRAINING, PairMaker, Pairs, texture_bank
from evaluate import held_out_pairs, zero_flow_ratio

from perceiver_io import OpticalFlow, save_checkpoint
from perceiver_io.config import DecoderConfig, EncoderConfig, FlowConfig, FlowStemConfig
from perceiver_io.parts.positions import grid_positions
from perceiver_io.tasks.flow import flow_loss

CONFIG = FlowConfig(
    encoder=EncoderConfig(
        num_latents=128,
        latent_channels=128,
        layers_per_block=4,
        self_attention_heads=4,
        qk_channels=128,
        v_channels=128,
        attention_dropout=0.0,
    ),
    decoder=DecoderConfig(heads=1, qk_channels=64, v_channels=64, query_residual=True),
    stem=FlowStemConfig(kind="conv", channels=96, query_channels=48, residual_blocks=4, window_radius=3),
    train_size=(96, 128),
    fourier_bands=16,
    rescale_factor=1.0,
    flow_scale=4.0,
)
MOTION_FROM, MOTION_TO, MOTION_RAMP = 4.0, 9.0, 0.2  # pixels, pixels, share of training
LEARNING_RATE, WARM_UP = 1e-3, 0.02


class Replay:
    """Batches of pairs, each made once and shown `uses` times, mirrored at random."""

    def __init__(self, maker: PairMaker, *, batch: int, uses: int, generator: torch.Generator) -> None:
        self.maker, self.batch, self.uses, self.generator = maker, batch, uses, generator
        self.kept: list[Pairs] = []

    def next(self, max_motion: float) -> Pairs:
        """The next batch: a new one every `uses` calls, a kept one otherwise."""
        if len(self.kept) < 8 or torch.rand(1, generator=self.generator).item() < 1 / self.uses:
            self.kept = [*self.kept[-63:], self.maker.make(self.batch, max_motion=max_motion)]
            frames, flow = self.kept[-1]
        else:
            frames, flow = self.kept[int(torch.randint(len(self.kept), (1,), generator=self.generator))]
        for axis in (0, 1):  # dx with the width, dy with the height
            if torch.rand(1, generator=self.generator).item() < 0.5:
                sign = torch.tensor([-1.0, 1.0] if axis == 0 else [1.0, -1.0], device=flow.device)
                frames, flow = frames.flip(4 - axis), flow.flip(2 - axis) * sign
        return Pairs(frames, flow)


def learning_rate(progress: float) -> float:
    """Linear warm-up, then a cosine to zero; `progress` in [0, 1]."""
    return LEARNING_RATE * min(1.0, progress / WARM_UP) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def train(arguments: argparse.Namespace) -> None:
    """Run the recipe, writing `arguments.out` every few minutes and at the end."""
    device = torch.device(arguments.device)
    generator = torch.Generator(device=device).manual_seed(arguments.seed)
    cpu_generator = torch.Generator().manual_seed(arguments.seed)
    torch.manual_seed(arguments.seed)
    height, width = CONFIG.train_size
    bank = texture_bank(TRAINING, count=1200, procedural=300, side=224, generator=cpu_generator).to(device)
    replay = Replay(
        PairMaker(bank, height=height, width=width, generator=generator), batch=arguments.batch, uses=3, generator=cpu_generator
    )
    held_out = held_out_pairs(count=64, size=CONFIG.train_size, max_motion=8.0)

    model = OpticalFlow(CONFIG).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=1e-4)
    step, elapsed = 0, 0.0
    state_file = Path(f"{arguments.out}.training.pt")
    state_file.parent.mkdir(parents=True, exist_ok=True)
    if arguments.resume:
        state = torch.load(state_file, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, elapsed = state["step"], state["elapsed"]
        generator.manual_seed(arguments.seed + step)
        cpu_generator.manual_seed(arguments.seed + step)

    def save() -> None:
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "elapsed": elapsed}
        torch.save(state, state_file)
        save_checkpoint(model, arguments.out, dtype=torch.float16)

    all_positions = grid_positions(CONFIG.train_size, device=device)
    errors, motions = [], []
    last = saved = time.monotonic()
    while True:
        progress = max(step / arguments.steps, elapsed / 60 / arguments.minutes)
        if progress >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(progress)
        frames, flow = replay.next(MOTION_FROM + (MOTION_TO - MOTION_FROM) * min(1.0, progress / MOTION_RAMP))
        pixels = torch.randint(height * width, (arguments.queries,), generator=cpu_generator).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            latents, query_features = model.encode(frames)
            positions = all_positions[pixels].expand(len(frames), -1, -1)
            predicted = model.decode(latents, query_features[:, pixels], positions)
        loss = flow_loss(predicted.float(), flow.flatten(1, 2)[:, pixels], flow_scale=CONFIG.flow_scale)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        now = time.monotonic()
        elapsed, last = elapsed + now - last, now
        errors.append(float(loss.detach()))
        motions.append(float(torch.linalg.vector_norm(flow, dim=-1).mean()))
        if step % 100 == 0:
            line = f"step {step}  {elapsed / 60:.1f} min  "
            line += f"training error {sum(errors) / 100:.3f} px, zero-flow error {sum(motions) / 100:.3f} px"
            errors, motions = [], []
            if step % 500 == 0:
                line += f"  held-out error / zero-flow error {zero_flow_ratio(model.eval(), held_out):.3f}"
                model.train()
            print(line, flush=True)
        if now - saved > 180:
            save()
            saved = now
    save()
    ratio = zero_flow_ratio(model.eval(), held_out)
    print(f"{step} steps in {elapsed / 60:.1f} min; held-out error / zero-flow error {ratio:.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="flow-small", help="folder for config.json and model.safetensors")
    parser.add_argument("--minutes", type=float, default=90, help="time budget; the schedule fits it")
    parser.add_argument("--steps", type=int, default=100_000, help="step budget; whichever budget ends first")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--queries", type=int, default=3072, help="pixels decoded per pair and step")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--resume", action="store_true", help="go on from OUT.training.pt")
    train(parser.parse_args())
