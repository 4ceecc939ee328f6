"""Which files of a folder hold the weights, and what to do where none does."""

from __future__ import annotations

import re
from pathlib import Path

from perceiver_io.errors import CheckpointError
from perceiver_io.loading.strict_json import read_object, refuse_pointer

_SAFE, _PICKLE = "model.safetensors", "pytorch_model.bin"
_INDEX = ".index.json"
_STEPS = re.compile(r"checkpoint-(\d+)")
_HINTS = {  # what else is found in place of weights: the way out
    "manifest.json": "this is a bundle already: perceiver run takes it",
    "pytorch_model_fsdp*": "its weights are FSDP shards: join them with `accelerate merge-weights`",
    "global_step*": "its weights are DeepSpeed's: join them with the zero_to_fp32.py beside them",
    "snapshots": "this is a hub cache: give the folder of one revision in its folder snapshots",
    "tf_model.h5": "its weights are TensorFlow's: load them in transformers 4 with from_tf=True and save_pretrained",
    "flax_model.msgpack": "its weights are Flax's: load them in transformers 4 with from_flax=True and save_pretrained",
    "*.ckpt": "give one of its .ckpt files as the checkpoint, with --allow-pickle if you trust it",
    "*.safetensors": "give one of its .safetensors files as the checkpoint",
}


def newest_step(folder: Path) -> tuple[Path, str]:
    """A Trainer's output folder: its newest checkpoint-N that is complete, and what to tell; else the folder itself."""
    steps = {int(match[1]): path for path in folder.glob("checkpoint-*") if (match := _STEPS.fullmatch(path.name))}
    complete = [path for _, path in sorted(steps.items()) if _has_weights(path) and (path / "config.json").is_file()]
    if _has_weights(folder) or not complete:
        return folder, ""
    note = f"using {complete[-1]}, the newest of {len(complete)} complete checkpoints in {folder}"
    state = complete[-1] / "trainer_state.json"
    best = read_object(state).get("best_model_checkpoint") if state.is_file() else None
    if isinstance(best, str) and Path(best).name != complete[-1].name:
        note += f"; its best by trainer_state.json is {Path(best).name[:80]!r}"
    return complete[-1], note


def weight_files(folder: Path, *, allow_pickle: bool) -> tuple[Path, ...]:
    """The files of a folder that hold the weights: one, or shards in their order. Raises `CheckpointError`."""
    _refuse_adapter(folder)
    found = next(
        (folder / f"{name}{end}" for name in (_SAFE, _PICKLE) for end in ("", _INDEX) if (folder / f"{name}{end}").is_file()),
        None,
    )
    ckpts = sorted(folder.glob("*.ckpt"))
    if found is None and len(ckpts) == 1:
        found = ckpts[0]
    if found is None:
        hint = next((hint for pattern, hint in _HINTS.items() if any(folder.glob(pattern))), None)
        raise CheckpointError(
            f"{folder} has no model.safetensors: "
            + (
                hint
                or "if its author gives only pytorch_model.bin, which is a pickle, pass allow_pickle "
                "(--allow-pickle) if you trust it"
            )
        )
    return check_weights(found, allow_pickle=allow_pickle)


def check_weights(file: Path, *, allow_pickle: bool) -> tuple[Path, ...]:
    """A file of weights, or an index of shards, as the files to read. Raises `CheckpointError`."""
    safe = ".safetensors" in file.name
    if not safe and not allow_pickle:
        raise CheckpointError(
            f"{file.parent} has no model.safetensors, only {file.name}, which is a pickle and can run code when read: "
            "save it again as safetensors, or pass allow_pickle (--allow-pickle) if you trust where it came from"
        )
    files = _shards(file) if file.name.endswith(_INDEX) else (file,)
    for each in files:
        refuse_pointer(each)
    return files


def _shards(index: Path) -> tuple[Path, ...]:
    places = read_object(index).get("weight_map")
    if not isinstance(places, dict) or not places or not all(isinstance(name, str) for name in places.values()):
        raise CheckpointError(f"{index} should have a weight_map of tensor names to file names: save the checkpoint again")
    names = sorted(set(places.values()))
    end = ".safetensors" if ".safetensors" in index.name else ".bin"
    odd = [name for name in names if not re.fullmatch(r"[\w-][\w.-]*", name) or not name.endswith(end)]
    if odd:
        raise CheckpointError(f"{index} names {odd[0][:80]!r}, which is no {end} file of its folder: save the checkpoint again")
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise CheckpointError(
            f"{index.parent} lacks {len(missing)} of {len(names)} shards ({', '.join(missing[:4])}): copy them too"
        )
    return tuple(index.parent / name for name in names)


def _has_weights(folder: Path) -> bool:
    return any((folder / f"{name}{end}").is_file() for name in (_SAFE, _PICKLE) for end in ("", _INDEX))


def adapter_note(folder: Path) -> str:
    """What to tell of an adapter beside weights that are used without it."""
    if not (folder / "adapter_config.json").is_file() or not _has_weights(folder):
        return ""
    return f"using the full weights in {folder}; the PEFT adapter beside them (adapter_config.json) is not read"


def _refuse_adapter(folder: Path) -> None:
    if (folder / "adapter_config.json").is_file() and not _has_weights(folder):
        base = read_object(folder / "adapter_config.json").get("base_model_name_or_path")
        raise CheckpointError(
            f"{folder} holds a PEFT adapter of {str(base)[:80]!r}, not a model: load it with peft, merge it with "
            "merge_and_unload(), save the result with save_pretrained and give that folder"
        )
