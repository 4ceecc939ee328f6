"""Engines of TensorRT for RTX that were built on another machine: a folder with a description, checked and put into the cache.

An engine for a compute capability runs on every GPU that has it, and needs none to be built. The sums find damage on the way;
they do not say who made the folder, and an engine runs as code: take it only from whom you would take a program.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perceiver_runtime.backends.cache_folder import write_whole
from perceiver_runtime.backends.tensorrt.backend import Engines
from perceiver_runtime.backends.tensorrt.builder import BuildOptions, spans
from perceiver_runtime.backends.tensorrt.cache import MAX_DESCRIPTION_BYTES, EngineKey
from perceiver_runtime.backends.tensorrt.library import for_rtx
from perceiver_runtime.common.errors import IntegrityError, PerceiverError, UsageError
from perceiver_runtime.common.records import parse_json

DESCRIPTION = "engines.json"
_SAME = {  # of an engine and of this machine's bundle and package
    "sha256": "of another bundle, or another export of it",
    "precision": "in another precision",
    "schema_version": "of another version of bundles",
    "runtime": "built by another version of perceiver-runtime",
}


def describe(folder: Path, engines: Mapping[str, EngineKey]) -> None:
    """Write the description of `GRAPH.engine` in a folder, of engines that were built by these keys."""
    found = {
        name: {"sha256": hashlib.sha256((folder / f"{name}.engine").read_bytes()).hexdigest(), "wanted": key.to_json()}
        for name, key in engines.items()
    }
    write_whole(folder / DESCRIPTION, json.dumps(found, indent=2).encode())


def take(engines: Engines, folder: Path) -> list[Path]:
    """Put a folder's engines of a bundle into this user's cache; where they are now.

    Raises `UsageError` for engines that are not for this bundle, TensorRT or GPU, `IntegrityError` for damaged ones.
    """
    described = _description(folder)
    missing = sorted(set(engines.bundle.manifest.graphs) - set(described))
    if missing:
        raise UsageError(f"{folder} has no engine of {', '.join(missing)}: build it for this bundle with --gpu and -o")
    plans = {name: _checked(engines, folder, name, described[name]) for name in engines.bundle.manifest.graphs}
    paths = []
    for name, plan in plans.items():
        wanted = {**described[name]["wanted"], "machine": engines.machine.to_json()}
        paths.append(engines.cache.adopt(wanted, str(engines.bundle.folder), plan))
    return paths


def _checked(engines: Engines, folder: Path, name: str, entry: Any) -> bytes:
    """The engine of a graph."""
    path = folder / f"{name}.engine"
    plan = path.read_bytes()
    if hashlib.sha256(plan).hexdigest() != entry["sha256"]:
        raise IntegrityError(f"{path} is damaged: it has not the sha256 that {DESCRIPTION} says; copy the folder again")
    wanted = entry["wanted"]
    here = engines.wanted(name, spans(engines.bundle.manifest.ranges), BuildOptions()).to_json()
    for field, why in _SAME.items():
        if wanted.get(field) != here[field]:
            raise UsageError(f"{path} is {why}: build it again from {engines.bundle.folder}")
    version, own = wanted["machine"]["tensorrt"], engines.machine.tensorrt
    if version != own or not for_rtx(engines.trt):
        raise UsageError(f"{path} was built by TensorRT for RTX {version}, this machine has {engines.trt.__name__} {own}")
    models, capability = wanted["options"]["compute_capabilities"], engines.machine.compute_capability
    if f"SM{capability.replace('.', '')}" not in models:
        raise UsageError(
            f"{path} is for {', '.join(models) or 'the GPU it was built on'}, this machine's GPU has compute capability "
            f"{capability}: build it with --gpu SM{capability.replace('.', '')}"
        )
    return plan


def _description(folder: Path) -> dict[str, Any]:
    try:
        with (folder / DESCRIPTION).open("rb") as file:
            found = parse_json(file.read(MAX_DESCRIPTION_BYTES), DESCRIPTION)
        for entry in found.values():
            _ = entry["sha256"], entry["wanted"]["machine"]["tensorrt"], entry["wanted"]["options"]["compute_capabilities"]
    except FileNotFoundError as error:
        raise UsageError(f"{folder} has no {DESCRIPTION}: make it with perceiver build BUNDLE --gpu … -o {folder}") from error
    except (AttributeError, KeyError, TypeError, PerceiverError) as error:
        raise IntegrityError(f"{folder / DESCRIPTION} is not one that perceiver build wrote: copy the folder again") from error
    return dict(found)
