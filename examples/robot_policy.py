"""A robot policy with latent queries, in the manner of ACT and PerAct: pictures and joints in, a chunk of actions out.

    python examples/robot_policy.py                    # trains, exports to robot-policy/, drives the arm with the bundle

The arm has two links. It sees two pictures, an overview and one that moves with its hand, and its own joint angles, and
should bring its hand to the red target, whose position it is not told. `encode` runs once a frame; `decode` takes any times
of the future, in seconds, and answers each with joint angles relative to now: the horizon is chosen when it runs. The teacher
makes a minimum-jerk movement and knows the target. Replace `Scene` by your robot and `teacher` by your records.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import perceiver_deploy as pd
import perceiver_io as pio
import perceiver_runtime as pr
from perceiver_deploy.own.kinds import Kind

Array = NDArray[np.float64]
LINKS, SIZE, DURATION = (0.5, 0.5), 32, 1.5  # m, pixels of a picture's side, seconds of a movement
GREY = (0.5, 0.5, 0.5)


class Scene:
    """Arms and targets: `joints` (B, 2) in radians, `target` (B, 2) in m."""

    def __init__(self, random: np.random.Generator, batch: int) -> None:
        self.joints, goal = (random.uniform([0.2, 0.4], [2.2, 2.4], (batch, 2)) for _ in range(2))
        self.goal, self.target = goal, self._points(goal)[2]

    @staticmethod
    def _points(joints: Array) -> list[Array]:
        """Shoulder, elbow and hand."""
        first, both = joints[:, 0], joints.sum(axis=1)
        elbow = LINKS[0] * np.stack([np.cos(first), np.sin(first)], axis=1)
        return [np.zeros_like(elbow), elbow, elbow + LINKS[1] * np.stack([np.cos(both), np.sin(both)], axis=1)]

    @property
    def distance(self) -> Array:
        """From hand to target, m."""
        metres: Array = np.linalg.norm(self._points(self.joints)[2] - self.target, axis=1)
        return metres

    def pictures(self) -> dict[str, NDArray[np.uint8]]:
        """`overview` of 2.4 m and `hand` of 0.8 m around the hand: uint8 (B, 32, 32, 3)."""
        hand = self._points(self.joints)[2]
        return {"overview": self._seen(np.zeros_like(hand), 1.2), "hand": self._seen(hand, 0.4)}

    def _seen(self, centre: Array, half: float) -> NDArray[np.uint8]:
        axis = np.linspace(-half, half, SIZE)
        place = centre[:, None, None] + np.stack(np.meshgrid(axis, axis[::-1]), axis=-1)  # (B, 32, 32, 2) in m
        picture = np.full((*place.shape[:3], 3), 230.0)
        shoulder, elbow, hand = (point[:, None, None] for point in self._points(self.joints))
        for start, end, colour in ((shoulder, elbow, 120.0), (elbow, hand, 60.0)):
            along = np.clip(((place - start) * (end - start)).sum(-1) / ((end - start) ** 2).sum(-1), 0, 1)[..., None]
            picture[np.linalg.norm(place - start - along * (end - start), axis=-1) < 0.04] = colour
        picture[np.linalg.norm(place - self.target[:, None, None], axis=-1) < 0.07] = (220, 30, 30)
        return picture.astype(np.uint8)


def teacher(scene: Scene, times: Array) -> Array:
    """Joint angles relative to now at times (B, O) in seconds: (B, O, 2)."""
    share = np.clip(times / DURATION, 0, 1)[..., None]
    result: Array = (scene.goal - scene.joints)[:, None] * (10 * share**3 - 15 * share**4 + 6 * share**5)
    return result


class Policy(nn.Module):
    """Two pictures and joints to latents, latents and times to actions."""

    def __init__(self, latents: int = 16, channels: int = 64) -> None:
        super().__init__()
        config = pio.EncoderConfig(num_latents=latents, latent_channels=channels, layers_per_block=2, self_attention_heads=4)
        self.patches, self.joints = nn.Conv2d(3, 64, 4, stride=4), nn.Linear(4, 64)
        self.place, self.time = pio.FourierPositions(6, (SIZE // 4,) * 2), pio.FourierPositions(6, (16,))
        self.source = pio.TrainablePositions(3, 16)  # which picture, or the joints
        self.encoder = pio.PerceiverEncoder(config, input_channels=64 + self.place.channels + 16)
        self.query = nn.Linear(self.time.channels, channels)
        decoder = pio.DecoderConfig(heads=4, query_residual=True)
        self.decoder = pio.BasicDecoder(decoder, config, query_channels=channels, output_channels=2)

    def encode(self, overview: Tensor, hand: Tensor, joints: Tensor) -> Tensor:
        """(B, 3, 32, 32) twice, (B, 2) → latents (B, N, D)."""
        source, grid = self.source(joints.shape[0]), self.place((SIZE // 4,) * 2)
        tokens = []
        for number, picture in enumerate((overview, hand)):
            seen = self.patches(picture).flatten(2).transpose(1, 2)  # (B, 64, 64)
            which = source[:, number : number + 1].expand(-1, seen.shape[1], -1)
            tokens.append(torch.cat([seen, grid.expand(seen.shape[0], -1, -1), which], dim=-1))
        felt = self.joints(torch.cat([joints.sin(), joints.cos()], dim=-1))[:, None]
        nowhere = torch.zeros_like(tokens[0][:, :1, 64:-16])
        tokens.append(torch.cat([felt, nowhere, source[:, 2:]], dim=-1))
        return self.encoder(torch.cat(tokens, dim=1))  # type: ignore[no-any-return]

    def decode(self, latents: Tensor, times: Tensor) -> Tensor:
        """(B, N, D), times (B, O, 1) in seconds → joint angles relative to now (B, O, 2)."""
        return self.decoder(latents, self.query(self.time.at(times / DURATION - 1)))  # type: ignore[no-any-return]


CAMERA = pd.Image((SIZE, SIZE), mean=GREY, std=GREY)
INPUTS: dict[str, Kind] = {"overview": CAMERA, "hand": CAMERA, "joints": pd.Arrays((2,))}


def train(model: Policy, steps: int, batch_size: int) -> None:
    """Behaviour cloning, on new scenes in each step, at random times."""
    random = np.random.default_rng(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for step in range(steps):
        scene = Scene(random, batch_size)
        times = random.uniform(0, 2 * DURATION, (batch_size, 16))
        pictures = {name: torch.from_numpy(each).permute(0, 3, 1, 2) / 127.5 - 1 for name, each in scene.pictures().items()}
        latents = model.encode(**pictures, joints=torch.from_numpy(scene.joints).float())
        found = model.decode(latents, torch.from_numpy(times).float()[..., None])
        loss = (found - torch.from_numpy(teacher(scene, times)).float()).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 200 == 0 or step == steps - 1:
            print(f"step {step}: mean error {loss.item():.4f} rad", flush=True)


def export(model: Policy, bundle: Path) -> None:
    """Times are queries: one, or a horizon of any length."""
    queries = {"times": pd.Arrays(("O", 1), {"O": (1, 256)}, values=(0.0, 2 * DURATION))}
    outputs = {"actions": pd.Arrays(("O", 2))}
    pd.export_model(model, bundle, inputs=INPUTS, queries=queries, outputs=outputs, force=True)


def drive(bundle: Path, runs: int, *, hertz: int = 20, execute: int = 6, frames: int = 16) -> dict[str, float]:
    """Closed loop with numpy and ONNX Runtime: look, encode, decode a horizon, execute a part of it, look again."""
    random = np.random.default_rng(1)
    times = (np.arange(1, execute + 1, dtype=np.float32) / hertz)[:, None]
    start, end = [], []
    with pr.load(bundle, task="arrays") as policy:
        for _ in range(runs):
            scene = Scene(random, 1)
            start.append(scene.distance[0])
            for _ in range(frames):
                pictures = {name: each[0] for name, each in scene.pictures().items()}
                latents = policy.latents({**pictures, "joints": scene.joints[0].astype(np.float32)})  # once a frame
                chunk = policy.decode(latents, {"times": times})["actions"]  # (execute, 2)
                scene.joints = scene.joints + chunk[-1]  # a real arm follows the chunk step by step
            end.append(scene.distance[0])
    reached = float(np.mean(np.array(end) < 0.05))
    result = {"start": float(np.median(start)), "end": float(np.median(end)), "reached": reached}
    print(
        f"{runs} runs of {frames * execute / hertz:.1f} s: from hand to target {result['start']:.2f} m before, "
        f"{result['end']:.3f} m after (medians); within 5 cm: {result['reached']:.0%}"
    )
    return result


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Train, export, drive."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("robot-policy"), help="the bundle (default: robot-policy)")
    parser.add_argument("--steps", type=int, default=2000, help="of training (default: 2000)")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--runs", type=int, default=50, help="of the arm, to measure with (default: 50)")
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    model = Policy()
    train(model, options.steps, options.batch_size)
    export(model, options.output)
    return drive(options.output, options.runs)


if __name__ == "__main__":
    main()
