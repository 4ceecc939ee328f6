"""What a repository already says of a model: kept, but for what is asked; and bundles that cannot share it, refused.

All versions of a model share one config.pbtxt, so they have to take and give the same, and what people set or wrote there holds
for the new version too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from perceiver_runtime.bundle.manifest import TensorSpec
from perceiver_runtime.common.errors import InputError
from perceiver_runtime.serving.model_config import (
    ACCELERATOR,
    BUNDLE_KEY,
    DEVICE_KEY,
    ONNX_THREADS_KEY,
    THREADS_KEY,
    ModelConfig,
    data_type,
    dims,
    only,
    parameter,
)
from perceiver_runtime.serving.repositories.models import Backend, RepositoryOptions
from perceiver_runtime.serving.repositories.pbtxt import Field, Message, find, parse, replaced, set_value, texts
from perceiver_runtime.serving.repositories.version_files import CONFIG_FILE
from perceiver_runtime.serving.wire import WireSpec

_MAX_BYTES = 1 << 20
_KIND = "instance_group"
_ACCELERATORS = ("optimization", "execution_accelerators", "gpu_execution_accelerator")


def read_config(model: Path) -> tuple[str, tuple[Field, ...]] | None:
    """A model's configuration, as text and read; None where there is none. Raises `InputError`."""
    path = model / CONFIG_FILE
    if not path.is_file():
        return None
    if path.stat().st_size > _MAX_BYTES:
        raise InputError(f"{path} is larger than the {_MAX_BYTES} bytes allowed: remove the model's folder")
    try:
        text = path.read_text(encoding="utf-8")
        return text, parse(text)
    except (InputError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}") from error


def bundles_of(fields: Sequence[Field]) -> dict[int, str]:
    """The sha256 of the bundle of each version that the configuration names."""
    found = parameters_of(fields)
    versions = {key[len(BUNDLE_KEY) :]: value for key, value in found.items() if key.startswith(BUNDLE_KEY)}
    return {int(version): value for version, value in versions.items() if version.isdecimal() and version.isascii()}


def parameters_of(fields: Sequence[Field]) -> dict[str, str]:
    """By key."""
    messages = [value for field in find(fields, "parameters") for value in field.values if isinstance(value, Message)]
    pairs = [(texts(each.fields, "key"), texts(each.fields, "value", "string_value")) for each in messages]
    return {key[0]: value[0] for key, value in pairs if key and value}


def completed(model: Path, options: RepositoryOptions) -> RepositoryOptions:
    """The options with backend and device as they are there, where none are asked for."""
    found = read_config(model)
    fields = found[1] if found is not None else ()
    backend: Backend = "python" if texts(fields, "backend") == ["python"] else "onnxruntime"
    device = "cpu"
    if "KIND_GPU" in texts(fields, _KIND, "kind"):
        device = "tensorrt" if "tensorrt" in texts(fields, *_ACCELERATORS, "name") else "cuda"
    return replace(options, backend=options.backend or backend, device=options.device or device)


def refuse_others(model: Path, fields: Sequence[Field], config: ModelConfig, labels: bytes | None) -> None:
    """Raise `InputError` unless a bundle's model can be another version of the one that is there."""
    there, new = _shared(fields), _shared_of(config)
    for what, value in new.items():
        if there.get(what, value) != value:
            raise _refused(model, f"{what} {there[what]}", f"{what} {value}")
    gone = [what for what in there if what not in new]
    added = [what for what in new if what not in there and not what.startswith("the file")]
    if gone or added:
        raise _refused(model, " and ".join(gone) or f"no {added[0]}", " and ".join(added) or f"no {gone[0]}")
    names = model / "labels.txt"
    if labels is not None and names.is_file() and names.read_bytes() != labels:
        raise _refused(model, "other names of answers", "its own")


def refuse_batch(model: Path, fields: Sequence[Field], largest: int) -> None:
    """Raise `InputError` where the model takes more inputs at once than a bundle does."""
    there = max([1, *(int(size) for size in texts(fields, "max_batch_size") if size.isdecimal())])
    if there > largest:
        raise InputError(
            f"{model} takes {there} inputs at once and this bundle {largest}: add --max-batch {largest}, which holds for all "
            "versions, or give this bundle another --name"
        )


def merged(text: str, config: ModelConfig, asked: RepositoryOptions, versions: Sequence[int]) -> str:
    """The text with what was `asked` for, with the new version's bundle, without those of versions that are gone."""
    known = bundles_of(parse(text))
    changes: dict[str, str | None] = {f"{BUNDLE_KEY}{version}": None for version in known if version not in versions}
    changes |= {key: value for key, value in config.parameters.items() if key.startswith(BUNDLE_KEY)}
    if config.backend:
        threads = THREADS_KEY if config.backend == "python" else ONNX_THREADS_KEY
        changes |= {} if asked.threads is None else {threads: str(asked.threads)}
        changes |= {DEVICE_KEY: config.parameters[DEVICE_KEY]} if asked.device and config.backend == "python" else {}
        text = _placed(text, config) if asked.device is not None else text
        if asked.instances is not None:
            text = set_value(text, [_KIND, "count"], str(asked.instances))
        for key, value in config.queue_policy(complete=False).items():
            text = set_value(text, ["dynamic_batching", "default_queue_policy", key], value)
    if asked.max_batch is not None:
        text = set_value(text, ["max_batch_size"], str(config.max_batch))
    if config.only_version is not None:
        text = at_version(text, [step.model for step in config.steps], config.only_version)
    return with_parameters(text, changes)


def with_parameters(text: str, changes: Mapping[str, str | None]) -> str:
    """The text with these parameters; one of None is taken out."""
    for field in reversed(find(parse(text), "parameters")):
        messages = [value for value in field.values if isinstance(value, Message)]
        kept = [each for each in messages if texts(each.fields, "key")[:1] not in [[key] for key in changes]]
        if len(kept) != len(messages):
            lines = [f"parameters {{ {text[slice(*each.inside)].strip()} }}" for each in kept]
            text = replaced(text, [field], "\n".join(lines))
    for key, value in changes.items():
        text = text if value is None else replaced(text, [], parameter(key, value))
    return text


def at_version(text: str, models: Sequence[str], version: int) -> str:
    """An ensemble's text with its steps of these models at the one version that it serves."""
    steps = [value for field in find(parse(text), "ensemble_scheduling", "step") for value in field.values]
    for step in reversed(steps):
        if isinstance(step, Message) and texts(step.fields, "model_name")[:1] in [[model] for model in models]:
            part = set_value(text[slice(*step.inside)], ["model_version"], str(version))
            text = text[: step.inside[0]] + part.replace("\n", " ") + text[step.inside[1] :]
    return replaced(text, find(parse(text), "version_policy"), only(version))


def _placed(text: str, config: ModelConfig) -> str:
    """On the device of the new configuration, as many instances as before."""
    counts = texts(parse(text), _KIND, "count")
    group = replace(config, instances=int(counts[0])) if counts and counts[0].isdecimal() else config
    text = replaced(text, find(parse(text), _KIND), group.instance_group())
    has = "tensorrt" in texts(parse(text), *_ACCELERATORS, "name")
    if has != config.tensorrt:
        text = replaced(text, find(parse(text), "optimization"), ACCELERATOR if config.tensorrt else "")
    return text


def _shared(fields: Sequence[Field]) -> dict[str, str]:
    """What all versions have in common."""
    found = {"the backend": (texts(fields, "backend") or texts(fields, "platform") or ["none"])[0]}
    files = texts(fields, "default_model_filename")
    found |= {"the file": files[0]} if files else {}
    for side in ("input", "output"):
        messages = [value for field in find(fields, side) for value in field.values if isinstance(value, Message)]
        for each in messages:
            sizes = [int(size) for size in texts(each.fields, "dims")]
            found[f"{side} {''.join(texts(each.fields, 'name'))}"] = f"{''.join(texts(each.fields, 'data_type'))} {sizes}"
    return found


def _shared_of(config: ModelConfig) -> dict[str, str]:
    found = {"the backend": config.backend or "ensemble", **({"the file": config.file} if config.file else {})}
    sides: list[tuple[str, Sequence[TensorSpec | WireSpec]]] = [("input", config.inputs), ("output", config.outputs)]
    return found | {f"{side} {spec.name}": f"{data_type(spec)} {dims(spec)}" for side, specs in sides for spec in specs}


def _refused(model: Path, there: str, new: str) -> InputError:
    return InputError(
        f"{model} has {there}, and this bundle {new}: versions of one model share its configuration, so give this bundle "
        "another name (--name)"
    )
