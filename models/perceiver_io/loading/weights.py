"""Reading weights: safetensors or an allowed pickle to float32 tensors by their plain names."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from perceiver_io.errors import CheckpointError

_READABLE = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# what torch.compile, DataParallel, FSDP and checkpointing put into the middle of names
_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
_STATES = ("state_dict", "model_state_dict", "model")  # where a training checkpoint has the weights


def read_names(files: Sequence[Path]) -> list[str]:
    """The tensors' names, without reading the tensors of a safetensors file. Raises `CheckpointError`."""
    if not all(file.suffix == ".safetensors" for file in files):
        return list(read_tensors(files))
    names: list[str] = []
    for file in files:
        try:
            with safe_open(file, framework="pt") as opened:
                names += opened.keys()
        except Exception as error:  # as in read_tensors
            raise _unreadable(file, error) from error
    return names


def read_tensors(files: Sequence[Path]) -> dict[str, Tensor]:
    """All tensors of the files, by their names there. Raises `CheckpointError`."""
    tensors: dict[str, Tensor] = {}
    for file in files:
        found = _read(file)
        twice = sorted(set(found) & set(tensors))
        if twice:
            raise CheckpointError(f"{file} has {twice[0]}, which another shard has too: save the checkpoint again")
        tensors |= found
    if sum(tensor.numel() for tensor in tensors.values()) > sum(file.stat().st_size for file in files):
        raise CheckpointError(f"{files[0]} holds tensors of more numbers than the file has bytes: save it again as safetensors")
    return tensors


def _read(file: Path) -> dict[str, Tensor]:
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # the readers raise many kinds; each means the same to the user
        raise _unreadable(file, error) from error
    if isinstance(state, dict):
        state = next((state[key] for key in _STATES if isinstance(state.get(key), dict)), state)
    if not isinstance(state, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        raise CheckpointError(f"{file} should hold a mapping of names to tensors: save the model's state_dict as safetensors")
    return state


def _unreadable(file: Path, error: Exception) -> CheckpointError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    return CheckpointError(f"{file} cannot be read ({reason}): copy or download it again")


def plain_names(names: Iterable[str], anchor: str) -> dict[str, str]:
    """Names without what wrappers put before and into them → names in the file.

    `anchor` is a tensor that every model has: what stands before it stands before all. Raises `CheckpointError` for a file of
    two models.
    """
    plain: dict[str, str] = {}
    for name in names:
        short = ".".join(part for part in name.split(".") if part not in _WRAPPERS)
        if short in plain:
            raise CheckpointError(f"{plain[short]} and {name} are the same tensor: leave one out with --ignore-tensors")
        plain[short] = name
    anchors = [name for name in plain if f".{name}".endswith(f".{anchor}")]
    if len(anchors) > 1:
        raise CheckpointError(
            f"there are two models, with {plain[anchors[0]]} and {plain[anchors[1]]}: leave one out with "
            f"--ignore-tensors '{plain[anchors[1]].removesuffix(anchor)}*'"
        )
    prefix = anchors[0].removesuffix(anchor).removesuffix("perceiver.") if anchors else ""
    return {name.removeprefix(prefix): original for name, original in plain.items()}


def without_ignored(names: Collection[str], patterns: Collection[str]) -> list[str]:
    """The names that match no pattern. Raises `CheckpointError` for a pattern without a match."""
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise CheckpointError(f"no tensor is called {pattern!r}: correct --ignore-tensors")
    return [name for name in names if not any(fnmatchcase(name, pattern) for pattern in patterns)]


def as_float32(file: Path, tensors: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as the model takes them: floating-point ones in float32. Raises `CheckpointError` for other numbers, or none."""
    for name, tensor in tensors.items():
        kind = str(tensor.dtype).removeprefix("torch.")
        if expected[name].is_floating_point() and tensor.dtype not in _READABLE:
            raise CheckpointError(
                f"{file}: {name} is {kind}, expected float16, bfloat16, float32 or float64: save unquantized weights"
            )
        if not expected[name].is_floating_point() and (tensor.is_floating_point() or tensor.is_complex()):
            raise CheckpointError(f"{file}: {name} is {kind}, expected whole numbers: save the checkpoint again")
    found = {name: tensor.float() if expected[name].is_floating_point() else tensor for name, tensor in tensors.items()}
    broken = [name for name, tensor in found.items() if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all())]
    if broken:
        more = f" and {len(broken) - 4} more" if len(broken) > 4 else ""
        raise CheckpointError(
            f"{file} holds NaN or infinite weights in {', '.join(broken[:4])}{more}: training diverged, or the "
            "file is damaged; take an earlier checkpoint"
        )
    return found
