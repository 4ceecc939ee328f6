"""Checkpoints: where they are found, what they must hold, how they are read and written.

A checkpoint is a folder with `config.json` and `model.safetensors`, in one of two layouts: Hugging Face's (written by
`save_pretrained`, see huggingface.py) or this package's own (written by `save_checkpoint`). A pickle
(`pytorch_model.bin`) is read only where the caller allows it, with torch's `weights_only`, and never as a fallback.
No code from a checkpoint is ever run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from perceiver_io.config_json import ConfigError, to_json
from perceiver_io.errors import CheckpointError
from perceiver_io.loading import huggingface
from perceiver_io.loading.checkpoint_folder import adapter_note, check_weights, newest_step, weight_files
from perceiver_io.loading.huggingface_names import is_ignored, is_krasserms, kind_of, tensor_name
from perceiver_io.loading.huggingface_save import huggingface_config
from perceiver_io.loading.published import PUBLISHED
from perceiver_io.loading.strict_json import read_object
from perceiver_io.loading.weights import as_float32, plain_names, read_names, read_tensors, without_ignored
from perceiver_io.tasks.composition import CompositionConfig
from perceiver_io.tasks.registry import TASKS, task_of

FORMAT = "perceiver_io"
SHIPPED = {folder.name: folder for folder in sorted((Path(__file__).parent.parent / "checkpoints").glob("*/"))}
KRASSERMS = (
    "{} holds a model of krasserm/perceiver-io, whose layers have names and shapes of their own: take the model of "
    "deepmind/… that it was converted from, or train a model of transformers, or of perceiver_io, on the same data"
)
_WEIGHTS = (".safetensors", ".bin", ".ckpt", ".pt", ".pth")


@dataclass(frozen=True)
class CheckpointFiles:
    """The files of a checkpoint on this machine, and what the configuration says it is for."""

    config: Path
    weights: tuple[Path, ...]  # one, or shards in their order
    task: str
    source: str = ""  # a shipped name, a hub id, or ./ and the name of a folder
    revision: str | None = None  # the commit, where it came from a hub
    ignored: tuple[str, ...] = ()  # patterns of tensors to leave out
    notes: tuple[str, ...] = ()  # what was chosen, for the user to know

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values, with absolute paths: a process that works in another folder can read it."""
        paths = {"config": str(self.config.absolute()), "weights": [str(path.absolute()) for path in self.weights]}
        return asdict(self) | paths

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> CheckpointFiles:
        """What `to_json` gave."""
        weights = tuple(Path(path) for path in data["weights"])
        lists = {name: tuple(data[name]) for name in ("ignored", "notes")}
        return cls(**{**data, "config": Path(data["config"]), "weights": weights, **lists})


def find_checkpoint(
    source: str | Path, *, allow_pickle: bool = False, revision: str | None = None, ignore_tensors: Collection[str] = ()
) -> CheckpointFiles:
    """Locate a checkpoint: the name of a shipped one (see `SHIPPED`), a folder, or a hub id such as `org/name`.

    A text that is a shipped name means that one, also where a folder of this name is: `./name` is the folder, and so is any
    `Path`. A hub id is downloaded with huggingface_hub, at `revision` if given. A file of weights with config.json beside it
    will do too. `ignore_tensors` are names, or patterns of names, of tensors to leave out. Raises `CheckpointError`.
    """
    place, known, commit, notes = _locate(source, allow_pickle=allow_pickle, revision=revision)
    given = place if place.is_file() else None
    if given and (given.suffix not in _WEIGHTS or not (given.parent / "config.json").is_file()):
        raise CheckpointError(f"{source} is a file: give the folder that holds config.json and model.safetensors")
    folder, note = (given.parent, "") if given else newest_step(place)
    notes += [each for each in (note, adapter_note(folder)) if each]
    weights = check_weights(given, allow_pickle=allow_pickle) if given else None
    config = folder / "config.json"
    if weights is None and not config.is_file():
        weights = weight_files(folder, allow_pickle=True)  # a better reason, where there is one
    if not config.is_file():
        raise CheckpointError(f"{folder} has no config.json: give a folder written by save_pretrained or save_checkpoint")
    described = read_object(config)
    if (
        str(described.get("model_type")).startswith("perceiver-") and "model_config" in described
    ):  # before a pickle is asked for
        raise CheckpointError(KRASSERMS.format(folder))
    try:
        weights = weights or weight_files(folder, allow_pickle=allow_pickle)
    except CheckpointError as error:
        if commit and not allow_pickle:
            raise CheckpointError(
                f"{known} has no model.safetensors at this revision: pass --revision refs/pr/1, where the hub's conversion to "
                "safetensors usually is, or --allow-pickle for pytorch_model.bin if you trust its author"
            ) from error
        raise
    task, note = _task(config, weights)
    return CheckpointFiles(
        config, weights, task, known, commit, tuple(ignore_tensors), tuple([*notes, note] if note else notes)
    )


def _locate(source: str | Path, *, allow_pickle: bool, revision: str | None) -> tuple[Path, str, str | None, list[str]]:
    """The folder or file, what to call it, the commit of a download, what to tell."""
    text, place = str(source), Path(source)
    if isinstance(source, str) and text in SHIPPED:
        notes = [f"{text} is the shipped checkpoint; the folder of that name is ./{text}"] if place.exists() else []
        place, known = SHIPPED[text], text
    elif place.exists():
        known, notes = f"./{place.resolve().name}", []
        if text in PUBLISHED:
            notes = [f"{text} is a folder here, and is used in place of the hub's"]
    elif re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", text):
        place = _download(text, allow_pickle=allow_pickle, revision=revision)
        return place, text, place.name, []
    else:
        raise CheckpointError(
            f"no checkpoint at {source}: give a folder, a hub id such as {next(iter(PUBLISHED))}, or one of "
            f"the shipped checkpoints ({', '.join(SHIPPED)})"
        )
    if revision:
        raise CheckpointError(f"a revision is for hub checkpoints, {source} is on this machine: leave out --revision")
    return place, known, None, notes


def load_checkpoint(
    source: str | Path, *, allow_pickle: bool = False, revision: str | None = None, ignore_tensors: Collection[str] = ()
) -> Any:
    """Load a checkpoint (see `find_checkpoint`) into its task's model (see `TASKS`), in float32 and evaluation mode.

    Raises `CheckpointError`, listing by name the tensors that are missing, unexpected, of another shape or not finite.

    >>> model = load_checkpoint("flow-small")
    """
    return load_files(find_checkpoint(source, allow_pickle=allow_pickle, revision=revision, ignore_tensors=ignore_tensors))


def load_files(files: CheckpointFiles) -> Any:
    """Build and fill the model of a checkpoint that `find_checkpoint` located."""
    data = read_object(files.config)
    ours = data.get("format") == FORMAT
    if data.get("quantization_config"):
        raise CheckpointError(f"{files.config} says that the weights are quantized: dequantize the model and save it again")
    tensors = read_tensors(files.weights)
    kept = plain_names(without_ignored(tensors, files.ignored), _anchor(ours))
    task = TASKS[files.task]
    if not ours:
        kept = {name: original for name, original in kept.items() if not is_ignored(files.task, name)}
        data = {**data, "architectures": [_architecture(data, kept)]}
    try:
        config = task.read_config(data.get("config")) if ours else huggingface.model_config(data, kept)
        with torch.device("meta"):  # no memory, no random numbers: every tensor is about to be replaced
            model = task.build(config)
    except (ConfigError, ValueError) as error:
        raise CheckpointError(f"{files.config}: {error}") from error
    names = {name: name if ours else tensor_name(files.task, name) for name in model.state_dict()}
    expected = {names[name]: tensor for name, tensor in model.state_dict().items()}
    theirs = {_bare(name): name for name in expected}  # transformers' base model is `perceiver.` in some files, bare in others
    found = {theirs.get(_bare(name), original): tensors[original] for name, original in kept.items()}
    for name in expected.keys() - found.keys():
        if name.endswith("num_batches_tracked"):  # of no use but to go on training
            found[name] = torch.zeros((), dtype=torch.int64)
    try:
        check_tensors(files.weights[0], expected, found)
    except CheckpointError as error:
        if ours or task.ignored is None:
            raise
        raise CheckpointError(f"{error}; a PerceiverModel's folder does not hold its parts: {huggingface.LIVE}") from error
    state = as_float32(files.weights[0], found, expected)
    model.load_state_dict({name: state[names[name]] for name in names}, assign=True)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return model.eval()


def _anchor(ours: bool) -> str:
    return "encoder.latents" if ours else "embeddings.latents"


def _bare(name: str) -> str:
    return name.removeprefix("perceiver.")


def _architecture(data: dict[str, Any], names: Collection[str]) -> str | None:
    """The class of transformers that a checkpoint is of: as its configuration says, else as its tensors show."""
    perceiver = data.get("model_type", "perceiver") == "perceiver"
    return huggingface.architecture_name(data) or (kind_of(names) if perceiver else None)


def save_checkpoint(
    model: nn.Module,
    folder: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    layout: Literal["perceiver_io", "huggingface"] = "perceiver_io",
) -> None:
    """Write `config.json` and `model.safetensors` of a task's model, weights as `dtype`.

    A composition of parts is a model too: its configuration is that of its parts, in this package's own layout. Hugging Face's
    layout transformers loads as well; raises `ConfigError` where that has no equivalent of the model, and for a part whose
    class is in no registry.
    """
    task = task_of(model)
    composed = TASKS[task].config is CompositionConfig
    config: Any = CompositionConfig.of(model) if composed else model.config
    if composed and layout == "huggingface":
        raise ConfigError("transformers has no configuration of a composition: save it in this package's own layout")
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


def _task(config: Path, weights: tuple[Path, ...]) -> tuple[str, str]:
    """The task, and what to tell of how it was found."""
    data = read_object(config)
    if data.get("format") == FORMAT:
        task = data.get("task")
        if isinstance(task, str) and task in TASKS:
            return task, ""
        raise CheckpointError(f"{config} is for the task {task!r}, none of {', '.join(TASKS)}")
    known = huggingface.architecture_name(data)
    names = read_names(weights)
    name = known or _architecture(data, plain_names(names, _anchor(False)))
    found = data.get("architectures") or data.get("model_type")
    if is_krasserms(names):
        raise CheckpointError(KRASSERMS.format(config.parent))
    if name is None:
        raise CheckpointError(
            f"{config} describes {str(found)[:200]}, which is none of the supported models: "
            f"{', '.join(huggingface.ARCHITECTURES)}"
        )
    note = "" if known else f"{str(found)[:200]} is no class known here; by its tensors the checkpoint is {name}"
    task = huggingface.ARCHITECTURES[name].task
    left_out = [each for each in names if is_ignored(task, each)]
    if left_out:
        note += ("; " if note else "") + (
            f"{len(left_out)} tensors of what follows the encoder are left out, such as {left_out[0]}: config.json does not "
            f"describe it; for the whole model {huggingface.LIVE}"
        )
    return task, note


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
        way_out = ""
        if any(re.search(r"lora_|\.base_layer\.", name) for name in unexpected):
            way_out = "; a PEFT adapter is in it: merge it with merge_and_unload() and save again"
        elif unexpected and not missing and not misshapen:
            way_out = f"; to leave them out: --ignore-tensors {' '.join(unexpected[:8])}"
        raise CheckpointError(f"{path} does not fit its configuration; tensors {'; '.join(problems)}{way_out}")


def _download(hub_id: str, *, allow_pickle: bool, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    safe = ["*.json", "*.txt", "README.md", "model*.safetensors", "sample/*"]
    try:
        folder = Path(snapshot_download(hub_id, revision=revision, allow_patterns=safe))
        if allow_pickle and not any(folder.glob("*.safetensors")):
            folder = Path(snapshot_download(hub_id, revision=revision, allow_patterns=[*safe, "pytorch_model*.bin"]))
        return folder
    except Exception as error:  # offline, refused, unknown: huggingface_hub raises a different kind for each
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"cannot fetch {hub_id} from the hub ({type(error).__name__}: {reason}): check the name and the network, "
            "or download it elsewhere and give the folder"
        ) from error
