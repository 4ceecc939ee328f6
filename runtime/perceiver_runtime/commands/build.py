"""`perceiver build BUNDLE`: TensorRT engines of a bundle's graphs, for this machine's GPU; and the cache they are kept in."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from perceiver_runtime.backends.cache_folder import write_whole
from perceiver_runtime.backends.cuda import cuda
from perceiver_runtime.backends.placement import Placement
from perceiver_runtime.backends.tensorrt.backend import TENSORRT, TENSORRT_RTX, Engines, check_target
from perceiver_runtime.backends.tensorrt.builder import BuildOptions, Profile, ProfileRange, Profiles, build, of_graph, spans
from perceiver_runtime.backends.tensorrt.cache import EngineCache, EngineKey, forget_onnxruntime
from perceiver_runtime.backends.tensorrt.library import tensorrt, tensorrt_rtx
from perceiver_runtime.backends.tensorrt.machine import Machine
from perceiver_runtime.backends.tensorrt.transfer import describe, take
from perceiver_runtime.bundle.reader import Bundle, open_bundle
from perceiver_runtime.common.errors import BackendError, InputError, UsageError
from perceiver_runtime.common.version import __version__
from perceiver_runtime.tasks.arguments import memory
from perceiver_runtime.tasks.asked_sizes import check_profiles
from perceiver_runtime.tasks.outputs import check_outside_bundles, progress_line


def add_parser(commands: Any) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser(
        "build",
        help="build TensorRT engines of a bundle, on the device",
        description="Build a TensorRT engine of each graph of a bundle exported with --target tensorrt, for this machine's GPU "
        "and this TensorRT: engines are of no use elsewhere. They are kept in this user's cache, where `perceiver run --device "
        "tensorrt` finds them; with -o they are written to a folder, for trtexec and other programs.",
    )
    parser.add_argument("bundle", nargs="?", help="folder made by perceiver-export")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.add_argument("-o", "--output", metavar="DIR", help="write GRAPH.engine here and not to the cache")
    parser.add_argument(
        "--profile",
        type=_span,
        nargs="+",
        action="append",
        default=[],
        metavar="NAME=MIN:OPT:MAX",
        help="an optimization profile: sizes that an engine takes, such as H=240:368:368 (default: the manifest's, fastest at "
        "the largest); given again, one more in the same engine, and each run takes the tightest that has room for it",
    )
    help_text = "memory for what is computed on the way, such as 1GB (default: all there is; cap it on a Jetson)"
    parser.add_argument("--workspace", type=memory, metavar="MEMORY", help=help_text)
    parser.add_argument("--optimization-level", type=int, choices=range(6), help="TensorRT's, 0 to 5")
    help_text = "tensorrt, or tensorrt-rtx for TensorRT for RTX; tensorrt:1 for the GPU of that number (default: tensorrt)"
    parser.add_argument("--device", type=_device, default=Placement("tensorrt"), help=help_text)
    help_text = "for TensorRT for RTX, with -o: what GPUs, such as SM89; no GPU is needed here"
    parser.add_argument("--gpu", nargs="+", default=[], metavar="SM86", help=help_text)
    help_text = "with tensorrt-rtx: take the engines that --gpu and -o made on another machine, checked, into this user's cache"
    parser.add_argument("--from", dest="source", metavar="DIR", help=help_text)
    parser.add_argument("--list", action="store_true", help="list the engines in the cache")
    help_text = "remove engines of the cache: those that do not fit this machine any more, or all"
    parser.add_argument("--prune", nargs="?", const="stale", choices=["stale", "all"], help=help_text)
    parser.set_defaults(function=run, render=render)


def _device(text: str) -> Placement:
    try:
        found = Placement.read(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if found.device not in (TENSORRT.name, TENSORRT_RTX.name):
        raise argparse.ArgumentTypeError(f"engines are built for {TENSORRT.name} and {TENSORRT_RTX.name}, not for {text!r}")
    return found


def _span(text: str) -> tuple[str, ProfileRange]:
    name, _, numbers = text.rpartition("=")
    try:
        least, best, most = (int(number) for number in numbers.split(":"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=MIN:OPT:MAX") from None
    return name, ProfileRange(least, best, most)


def _profile(sizes: list[tuple[str, ProfileRange]]) -> Profile:
    profile = dict(sizes)
    if len(profile) < len(sizes):
        twice = next(name for name, span in sizes if profile[name] is not span)
        raise UsageError(f"one profile has {twice} once: give --profile again for another profile")
    return profile


def run(arguments: argparse.Namespace) -> dict[str, object]:
    """Build each graph; what is finished is in its place, what is not leaves nothing."""
    if arguments.prune:
        return _prune(EngineCache(), everything=arguments.prune == "all")
    if arguments.list:
        return {"cached": EngineCache().entries()}
    if arguments.bundle is None:
        raise UsageError("give a bundle to build, or --list, or --prune")
    bundle = open_bundle(arguments.bundle)
    check_target(bundle)
    profiles = spans(bundle.manifest.ranges, *map(_profile, arguments.profile))
    if arguments.profile:
        check_profiles(bundle, profiles)
    options = BuildOptions(arguments.workspace, arguments.optimization_level, tuple(arguments.gpu))
    rtx = arguments.device.device == TENSORRT_RTX.name
    if arguments.output:
        return _to_folder(bundle, profiles, options, Path(arguments.output), rtx=rtx)
    if arguments.gpu:
        raise UsageError("an engine for another GPU is of no use in this machine's cache: give -o DIR")
    if arguments.source and not rtx:
        raise UsageError("engines of TensorRT are built on the device that runs them: --from is for --device tensorrt-rtx")
    store = Engines(bundle, gpu=arguments.device.gpu or 0, rtx=rtx)
    if arguments.source:
        taken = [
            {"path": str(path), "bytes": path.stat().st_size, "seconds": 0.0, "profiles": []}
            for path in take(store, Path(arguments.source))
        ]
        return {"tensorrt": store.trt.__version__, "engines": taken}

    def to_cache(name: str, report: Callable[[str], None]) -> tuple[Path, int]:
        wanted = store.wanted(name, profiles, options)
        plan = store.build(wanted, report)
        return store.cache.folder / f"{wanted.key}.engine", len(plan)

    return {"tensorrt": store.trt.__version__, "engines": _each(bundle, profiles, to_cache)}


def _to_folder(bundle: Bundle, profiles: Profiles, options: BuildOptions, folder: Path, *, rtx: bool) -> dict[str, object]:
    trt = tensorrt_rtx() if rtx else tensorrt()
    check_outside_bundles(folder / "engine")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: give a folder")
    folder.mkdir(parents=True, exist_ok=True)

    def to_file(name: str, report: Callable[[str], None]) -> tuple[Path, int]:
        entry, path = bundle.manifest.graphs[name], folder / f"{name}.engine"
        plan = build(trt, bundle.graph(name), bundle.weights, entry, profiles, options, report)
        write_whole(path, plan)
        return path, len(plan)

    done = {"tensorrt": trt.__version__, "engines": _each(bundle, profiles, to_file)}
    if options.compute_capabilities:
        elsewhere = Machine.elsewhere(trt)
        describe(folder, {name: EngineKey.of(bundle, name, profiles, options, elsewhere) for name in bundle.manifest.graphs})
    return done


def _each(
    bundle: Bundle, profiles: Profiles, make: Callable[[str, Callable[[str], None]], tuple[Path, int]]
) -> list[dict[str, object]]:
    engines: list[dict[str, object]] = []
    for name, entry in bundle.manifest.graphs.items():
        start = time.perf_counter()
        with progress_line() as report:
            path, size = make(name, lambda phase, name=name: report(f"{name}: {phase}"))  # type: ignore[misc]
        own = [{size: dataclasses.asdict(span) for size, span in each.items()} for each in of_graph(entry, profiles)]
        seconds = time.perf_counter() - start
        engines.append({"path": str(path), "bytes": size, "seconds": seconds, "profiles": own})
    return engines


def _machines() -> list[dict[str, str]]:
    """What engines may be for here: each GPU, with TensorRT and TensorRT for RTX. Raises `BackendError`."""
    libraries, gpus = {tensorrt().__name__: tensorrt()}, cuda()
    with contextlib.suppress(BackendError):
        libraries[tensorrt_rtx().__name__] = tensorrt_rtx()
    return [Machine.here(each, gpus.on(gpu)).to_json() for each in libraries.values() for gpu in range(gpus.count)]


def _prune(cache: EngineCache, *, everything: bool) -> dict[str, object]:
    """Remove engines of another machine, TensorRT, driver or version of this package, and what is not whole."""
    try:
        machines = _machines()
    except BackendError as error:
        if not everything:
            raise BackendError(f"without TensorRT and a GPU nobody knows which engines fit: --prune all ({error})") from error
        machines = []
    if everything:
        forget_onnxruntime()
    gone = []
    for entry in cache.entries():
        wanted = entry["wanted"] if isinstance(entry["wanted"], dict) else {}
        if everything or wanted.get("machine") not in machines or wanted.get("runtime") != __version__:
            cache.remove(entry["key"])
            gone.append(entry)
    return {"removed": gone, "leftovers": cache.remove_leftovers()}


def render(result: dict[str, Any]) -> str:
    """The same for people."""
    if "engines" in result:
        lines = [f"TensorRT {result['tensorrt']}"]
        for each in result["engines"]:
            many = f", {len(each['profiles'])} profiles" if len(each["profiles"]) > 1 else ""
            lines.append(f"{each['path']} ({each['bytes'] / 1e6:.1f} MB{many}), {each['seconds']:.1f} s")
        return "\n".join(lines)
    entries = result.get("cached", result.get("removed", []))
    did = "removed " if "removed" in result else ""
    return "\n".join(f"{did}{_entry(entry)}" for entry in entries) or ("nothing to remove" if did else "no engines")


def _entry(entry: dict[str, Any]) -> str:
    wanted, size = entry["wanted"], f"{entry['bytes'] / 1e6:.1f} MB"
    if not isinstance(wanted, dict):
        return f"{entry['key'][:12]}  {size}  not whole"
    machine = wanted["machine"]
    sizes = " or ".join(
        " ".join(f"{name}={span['min']}:{span['opt']}:{span['max']}" for name, span in profile.items())
        for profile in wanted.get("profiles", [])
    )
    on = f"TensorRT {machine['tensorrt']}, {machine['gpu'] or 'GPU'}"
    return f"{entry['key'][:12]}  {size}  {wanted['graph']} of {entry['bundle']}  {sizes}  {on}, built {entry['built']}"
