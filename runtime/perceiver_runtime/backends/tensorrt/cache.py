"""Engines that were built here, kept for the next time: never in a bundle, never from another machine.

An engine is native code in all but name, so the folder is the user's own (mode 0700, refused otherwise), and an engine is used
only if the description beside it has everything that it depends on and its sha256. Anything else is built again. Files
are written under another name and renamed; a lock makes a second process wait for the first one's build.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from perceiver_runtime.backends.cache_folder import cache_folder, private_folder, write_whole
from perceiver_runtime.backends.cuda import cuda
from perceiver_runtime.backends.tensorrt.builder import BuildOptions, ProfileRange, Profiles, of_graph
from perceiver_runtime.backends.tensorrt.machine import Machine, power_mode
from perceiver_runtime.bundle.reader import Bundle
from perceiver_runtime.common.version import __version__

MAX_DESCRIPTION_BYTES = 64 << 10
ONNXRUNTIME = "ort-tensorrt"  # the folder of what ONNX Runtime's TensorRT keeps


@dataclass(frozen=True)
class EngineKey:
    """An engine, by all that it depends on."""

    graph: str
    sha256: Mapping[str, str]  # of the graph's file and of the weights
    schema_version: str
    precision: str
    runtime: str
    profiles: Profiles  # of the graph's own sizes
    options: BuildOptions
    machine: Machine

    @classmethod
    def of(cls, bundle: Bundle, graph: str, profiles: Profiles, options: BuildOptions, machine: Machine) -> EngineKey:
        """The engine of a bundle's graph on a machine."""
        entry = bundle.manifest.graphs[graph]
        file = entry.file
        sums = {entry.path: entry.sha256 for entry in bundle.manifest.files}
        needed = {name: sums[name] for name in sorted(sums) if name == file or name.endswith(".safetensors")}
        manifest = bundle.manifest
        own = of_graph(entry, profiles)
        return cls(graph, needed, manifest.schema_version, manifest.precision, __version__, own, options, machine)

    def to_json(self) -> dict[str, Any]:
        """Values that JSON keeps as they are."""
        fields: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self), sort_keys=True))
        return fields

    @property
    def key(self) -> str:
        """sha256 of the whole, in hex."""
        return key_of(self.to_json())


def key_of(wanted: Mapping[str, Any]) -> str:
    """sha256 of values that JSON keeps as they are, in hex."""
    return hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()


class EngineCache:
    """The user's folder of engines."""

    def __init__(self, folder: Path | None = None) -> None:
        """Raises `BackendError` where the folder belongs to somebody else, or others may write to it."""
        self.folder = private_folder((folder or cache_folder()) / "engines")

    def get(self, wanted: EngineKey) -> bytes | None:
        """The engine; None where there is none that is whole and for this machine."""
        description = _described(self._file(wanted.key, "json"))
        if description.get("wanted") != wanted.to_json():
            return None
        try:
            plan = self._file(wanted.key, "engine").read_bytes()
        except OSError:
            return None
        return plan if hashlib.sha256(plan).hexdigest() == description.get("sha256") else None

    def latest(self, wanted: EngineKey) -> EngineKey | None:
        """What was built last for the same graph on the same machine, with whatever profiles and options."""
        best: tuple[int, EngineKey] | None = None
        for path in self.folder.glob("*.json"):
            found: Any = _described(path).get("wanted")
            try:
                profiles = tuple({name: ProfileRange(**span) for name, span in each.items()} for each in found["profiles"])
                options = BuildOptions(
                    **{**found["options"], "compute_capabilities": tuple(found["options"]["compute_capabilities"])}
                )
            except (TypeError, KeyError, AttributeError):
                continue
            candidate = dataclasses.replace(wanted, profiles=profiles, options=options)
            if candidate.key == path.stem and (best is None or path.stat().st_mtime_ns > best[0]):
                best = path.stat().st_mtime_ns, candidate
        return best[1] if best else None

    def get_or_build(
        self, wanted: EngineKey, bundle: str, build: Callable[[], bytes], waiting: Callable[[str], None] = lambda text: None
    ) -> tuple[bytes, str]:
        """The engine, built where it has to be; with "" or, where it could not be kept, why not.

        `waiting` is told when another process is building it.
        """
        plan = self.get(wanted)
        if plan is not None:
            with contextlib.suppress(OSError):
                os.utime(self._file(wanted.key, "json"))  # it is the latest now
            return plan, ""
        with self._lock(wanted.key, waiting):
            plan = self.get(wanted)  # the other process may have built it meanwhile
            if plan is not None:
                return plan, ""
            plan = build()
            try:
                self._keep(wanted, bundle, plan)
            except OSError as reason:
                return plan, f"{self.folder}: {reason.strerror or reason}"
        return plan, ""

    def _keep(self, wanted: EngineKey, bundle: str, plan: bytes) -> None:
        self.adopt(wanted.to_json(), bundle, plan)

    def adopt(self, wanted: dict[str, Any], bundle: str, plan: bytes) -> Path:
        """Keep an engine under the key of what `EngineKey.to_json` says of it; where it is then."""
        key = key_of(wanted)
        description = {
            "wanted": wanted,
            "sha256": hashlib.sha256(plan).hexdigest(),
            "bytes": len(plan),
            "bundle": bundle,
            "built": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        write_whole(self._file(key, "engine"), plan)
        write_whole(self._file(key, "json"), json.dumps(description, indent=2).encode())
        return self._file(key, "engine")

    def entries(self) -> list[dict[str, Any]]:
        """What is there: `key`, `bytes`, `bundle`, `built` and `wanted`; the last three empty for what is not whole."""
        found = []
        for path in sorted(self.folder.glob("*.engine")):
            description = _described(path.with_suffix(".json"))
            known = {name: description.get(name) or "" for name in ("bundle", "built", "wanted")}
            found.append({"key": path.stem, "bytes": path.stat().st_size, **known})
        return found

    def remove(self, key: str) -> None:
        """Forget an engine."""
        for kind in ("json", "engine", "kernels", "lock"):  # the description first: without it the engine is not used
            self._file(key, kind).unlink(missing_ok=True)

    def remove_leftovers(self) -> int:
        """Temporary files of builds that were killed more than a day ago; how many there were."""
        old = [path for path in self.folder.glob(".*.partial") if path.stat().st_mtime < time.time() - 86400]
        for path in old:
            path.unlink(missing_ok=True)
        return len(old)

    def timing_cache(self, machine: Machine) -> TimingFile:
        """Where measurements of kernels on this machine are kept."""
        return TimingFile(self.folder / f"{measured_on(machine)}.timings")

    def compiled(self, wanted: EngineKey) -> TimingFile:
        """Where kernels are kept that TensorRT for RTX compiled for an engine on this machine."""
        return TimingFile(self._file(wanted.key, "kernels"))

    def _file(self, key: str, kind: str) -> Path:
        return self.folder / f"{key}.{kind}"

    @contextlib.contextmanager
    def _lock(self, key: str, waiting: Callable[[str], None]) -> Iterator[None]:
        """One process at a time, where the system has locks and the folder can be written to."""
        try:
            fcntl = importlib.import_module("fcntl")
            descriptor = os.open(self._file(key, "lock"), os.O_RDWR | os.O_CREAT, 0o600)
        except (ImportError, OSError):
            yield
            return
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting("another process is building this engine: waiting for it")
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


class TimingFile:
    """A `perceiver_runtime.backends.tensorrt.builder.TimingCache`; losing it costs time only, so it never fails."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> bytes:
        """What was kept, or nothing."""
        with contextlib.suppress(OSError):
            return self.path.read_bytes()
        return b""

    def write(self, data: bytes) -> None:
        """Keep it."""
        with contextlib.suppress(OSError):
            write_whole(self.path, data)


def measured_on(machine: Machine) -> str:
    """A name for times that were measured on a machine, in its power mode."""
    return key_of(machine.to_json() | {"power_mode": power_mode()})[:16]


def kept_by_onnxruntime(bundle: Bundle, graph: str, version: str, gpu: int) -> tuple[Path, Path]:
    """Folders for the engines and measurements that ONNX Runtime's TensorRT makes of a graph: by all that they depend on.

    ONNX Runtime reads and writes what is in them by itself. Raises `BackendError`.
    """
    library = SimpleNamespace(__version__=version, __name__="onnxruntime")
    machine = Machine.here(library, cuda().on(gpu))
    sums = {entry.path: entry.sha256 for entry in bundle.manifest.files}
    key = key_of({"graph": graph, "sha256": sums, "runtime": __version__, "machine": machine.to_json()})
    folder = private_folder(cache_folder() / ONNXRUNTIME)
    return private_folder(folder / f"{graph}-{key[:16]}"), private_folder(folder / f"timings-{measured_on(machine)}")


def forget_onnxruntime() -> None:
    """Remove all that `kept_by_onnxruntime` made room for."""
    folder = cache_folder() / ONNXRUNTIME
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(private_folder(folder))


def _described(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(MAX_DESCRIPTION_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
