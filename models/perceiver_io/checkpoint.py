"""Checkpoints: where they are found, what they must hold, how they are read and written.

A checkpoint is a folder with `config.json` and `model.safetensors`, in one of two layouts: Hugging Face's (written by
`save_pretrained`, see huggingface.py) or this package's own (written by `save_checkpoint`). A pickle
(`pytorch_model.bin`) is read only where the caller allows it, with torch's `weights_only`, and never as a fallback.
No code from a checkpoint is ever run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from perceiver_io import huggingface
from perceiver_io.config_json import ConfigError, from_json, to_json
from perceiver_io.huggingface_names import is_ignored, tensor_name
from perceiver_io.huggingface_save import huggingface_config
from perceiver_io.published import PUBLISHED
from perceiver_io.tasks import TASKS, task_of

FORMAT = "perceiver_io"
SHIPPED = {folder.name: folder for folder in sorted((Path(__file__).parent / "checkpoints").glob("*/"))}


class CheckpointError(ValueError):
    """A checkpoint that cannot be found, read or matched to a model; the message names the way out."""


@dataclass(frozen=True)
class CheckpointFiles:
    """The files of a checkpoint on this machine, and what the configuration says it is for."""

    config: Path
    weights: Path
    task: str
    revision: str | None = None  # the commit, where it came from a hub


def find_checkpoint(source: str | Path, *, allow_pickle: bool = False, revision: str | None = None) -> CheckpointFiles:
    """Locate a checkpoint: a folder, the name of a shipped one (see `SHIPPED`), or a hub id such as `org/name`.

    A hub id is downloaded with huggingface_hub, at `revision` if given. Raises `CheckpointError`.
    """
    folder, commit = Path(source), None
    if not folder.exists():
        if str(source) in SHIPPED:
            folder = SHIPPED[str(source)]
        elif re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", str(source)):
            folder = _download(str(source), allow_pickle=allow_pickle, revision=revision)
            commit = folder.name
        else:
            raise CheckpointError(
                f"no checkpoint at {source}: give a folder, a hub id such as {next(iter(PUBLISHED))}, or one of "
                f"the shipped checkpoints ({', '.join(SHIPPED)})"
            )
    if not folder.is_dir():
        raise CheckpointError(f"{source} is a file: give the folder that holds config.json and model.safetensors")
    config = folder / "config.json"
    if not config.is_file():
        raise CheckpointError(f"{folder} has no config.json: give a folder written by save_pretrained or save_checkpoint")
    return CheckpointFiles(config, _weights_file(folder, allow_pickle=allow_pickle), _task(config), commit)


def load_checkpoint(source: str | Path, *, allow_pickle: bool = False, revision: str | None = None) -> Any:
    """Load a checkpoint (see `find_checkpoint`) into its task's model (see `TASKS`), in float32 and evaluation mode.

    Raises `CheckpointError`, listing by name the tensors that are missing, unexpected or of another shape.

    >>> model = load_checkpoint("flow-small")
    """
    return load_files(find_checkpoint(source, allow_pickle=allow_pickle, revision=revision))


def load_files(files: CheckpointFiles) -> Any:
    """Build and fill the model of a checkpoint that `find_checkpoint` located."""
    data = _read_json(files.config)
    ours = data.get("format") == FORMAT
    tensors = _read_weights(files.weights)
    if not ours:
        tensors = {name: tensor for name, tensor in tensors.items() if not is_ignored(files.task, name)}
    task = TASKS[files.task]
    try:
        config = from_json(task.config, data.get("config")) if ours else huggingface.model_config(data, tensors)
        with torch.device("meta"):  # no memory, no random numbers: every tensor is about to be replaced
            model = task.build(config)
    except (ConfigError, ValueError) as error:
        raise CheckpointError(f"{files.config}: {error}") from error
    names = {name: name if ours else tensor_name(files.task, name) for name in model.state_dict()}
    check_tensors(files.weights, {names[name]: tensor for name, tensor in model.state_dict().items()}, tensors)
    state = {name: _in_float32(tensors[names[name]]) for name in names}
    model.load_state_dict(state, assign=True)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return model.eval()


def save_checkpoint(
    model: nn.Module,
    folder: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    layout: Literal["perceiver_io", "huggingface"] = "perceiver_io",
) -> None:
    """Write `config.json` and `model.safetensors` of a task's model, weights as `dtype`.

    In this package's own layout, or in Hugging Face's, which transformers loads too; raises `ConfigError` where that has no
    equivalent of the model.
    """
    task = task_of(model)
    config: Any = model.config
    if layout == "huggingface":
        data = huggingface_config(config) | {"dtype": str(dtype).removeprefix("torch.")}
    else:
        data = {"format": FORMAT, "task": task, "config": to_json(config)}
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = {}
    for name, tensor in model.state_dict().items():
        written = tensor_name(task, name) if layout == "huggingface" else name
        kept = dtype if tensor.is_floating_point() else tensor.dtype
        state[written] = tensor.detach().to("cpu", kept).contiguous()
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _in_float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _task(config: Path) -> str:
    data = _read_json(config)
    architecture = huggingface.architecture_of(data)
    task = data.get("task") if data.get("format") == FORMAT else architecture and architecture.task
    if task not in TASKS:
        found = data.get("architectures") or data.get("model_type") or task
        raise CheckpointError(
            f"{config} describes {found}, which is none of the supported models: {', '.join(huggingface.ARCHITECTURES)}"
        )
    return task


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} should hold a JSON object")
    return data


def _weights_file(folder: Path, *, allow_pickle: bool) -> Path:
    weights, pickle = folder / "model.safetensors", folder / "pytorch_model.bin"
    if weights.is_file():
        return weights
    if not pickle.is_file():
        raise CheckpointError(
            f"{folder} has no model.safetensors: if its author gives only pytorch_model.bin, which is a pickle, pass "
            "allow_pickle (--allow-pickle) if you trust it"
        )
    if not allow_pickle:
        raise CheckpointError(
            f"{folder} has no model.safetensors, only pytorch_model.bin, which is a pickle and can run code when read: "
            "save it again as safetensors, or pass allow_pickle (--allow-pickle) if you trust where it came from"
        )
    return pickle


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the readers raise many kinds; each means the same to the user
        raise CheckpointError(f"{path} cannot be read ({error}): copy or download it again") from error
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise CheckpointError(f"{path} should hold a mapping of names to tensors")
    return state


def check_tensors(path: Path, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Raise `CheckpointError`, by name, unless the tensors found in the file `path` are those expected, in shape too."""
    missing = sorted(set(expected) - set(found))
    unexpected = sorted(set(found) - set(expected))
    misshapen = [
        f"{name} {tuple(found[name].shape)}, expected {tuple(expected[name].shape)}"
        for name in sorted(set(expected) & set(found))
        if found[name].shape != expected[name].shape
    ]
    problems = [
        f"{label}: {', '.join(names[:8])}{f' and {len(names) - 8} more' if len(names) > 8 else ''}"
        for label, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", misshapen))
        if names
    ]
    if problems:
        raise CheckpointError(f"{path} does not fit its configuration; tensors {'; '.join(problems)}")


def _download(hub_id: str, *, allow_pickle: bool, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    patterns = ["config.json", "preprocessor_config.json", "model.safetensors", "README.md"] + [
        "pytorch_model.bin"
    ] * allow_pickle
    try:
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=patterns))
    except Exception as error:  # offline, refused, unknown: huggingface_hub raises a different kind for each
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"cannot fetch {hub_id} from the hub ({type(error).__name__}: {reason}): check the name and the network, "
            "or download it elsewhere and give the folder"
        ) from error
