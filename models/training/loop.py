"""What the recipes share: a budget of time or steps, a schedule, progress, checkpoints written as it goes, going on later."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

WARM_UP = 0.03  # share of training


def arguments(description: str | None, *, out: str, minutes: float, batch: int) -> argparse.ArgumentParser:
    """The options that all recipes have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(out), help="folder for the checkpoint")
    parser.add_argument("--minutes", type=float, default=minutes, help="time budget; the schedule fits it")
    parser.add_argument("--steps", type=int, default=1_000_000, help="step budget; whichever budget ends first")
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--resume", action="store_true", help="go on from OUT.training.pt")
    return parser


def schedule(progress: float) -> float:
    """Share of the learning rate: a linear warm-up, then a cosine to zero; `progress` in [0, 1]."""
    return min(1.0, progress / WARM_UP) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def train(
    model: nn.Module,
    options: argparse.Namespace,
    *,
    loss: Callable[[torch.Generator], Tensor],
    evaluate: Callable[[], str],
    save: Callable[[], None],
    learning_rate: float = 1e-3,
    evaluate_every: int = 500,
) -> None:
    """Minimise `loss`, which draws a batch with the generator it is given, until a budget is used up.

    `evaluate` describes the model on held-out data, in evaluation mode; `save` writes the checkpoint, every three minutes and
    at the end. Two runs of one seed agree step by step, not in wall time; after `--resume` other batches are drawn.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    step, elapsed = 0, 0.0
    state_file = options.out.with_name(f"{options.out.name}.training.pt")
    state_file.parent.mkdir(parents=True, exist_ok=True)
    if options.resume:
        state = torch.load(state_file, weights_only=True, map_location=options.device)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, elapsed = state["step"], state["elapsed"]
    generator = torch.Generator().manual_seed(options.seed + step)

    def write() -> None:
        torch.save(
            {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "elapsed": elapsed}, state_file
        )
        model.eval()
        save()
        model.train()

    model.train()
    losses: list[float] = []
    last = written = time.monotonic()
    while (progress := max(step / options.steps, elapsed / 60 / options.minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * schedule(progress)
        value = loss(generator)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        losses.append(float(value.detach()))
        if step % evaluate_every == 0:
            model.eval()
            print(f"step {step}  {elapsed / 60:.1f} min  loss {sum(losses) / len(losses):.3f}  {evaluate()}", flush=True)
            model.train()
            losses = []
        now = time.monotonic()
        elapsed, last = elapsed + now - last, now
        if now - written > 180:
            write()
            written = now
    write()
    model.eval()
    print(f"{step} steps in {elapsed / 60:.1f} min; {evaluate()}")
