"""`perceiver doctor [BUNDLE …]`: what this machine has, what each bundle would run on, and why not on the rest."""

from __future__ import annotations

import argparse
import contextlib
import platform
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from perceiver_runtime.backends import ort_providers
from perceiver_runtime.backends.cores import default_threads
from perceiver_runtime.backends.cuda import cuda, gpu_name
from perceiver_runtime.backends.onnxruntime import onnxruntime
from perceiver_runtime.backends.openvino import openvino
from perceiver_runtime.backends.selection import DEVICE_RECORDS
from perceiver_runtime.backends.tensorrt.backend import unbuilt
from perceiver_runtime.backends.tensorrt.library import tensorrt, tensorrt_rtx
from perceiver_runtime.backends.tensorrt.machine import DRIVER_VERSION, TEGRA_RELEASE, first_line, jetpack, power_mode
from perceiver_runtime.bundle.reader import Bundle, open_bundle
from perceiver_runtime.common.errors import PerceiverError, ProviderFallbackWarning
from perceiver_runtime.common.version import __version__
from perceiver_runtime.tasks.known_answer import FILE, Sample, check_known_answer, tolerances
from perceiver_runtime.tasks.loading import check_task, open_pipeline
from perceiver_runtime.tasks.pipeline import RuntimeOptions


def add_parser(commands: Any) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser(
        "doctor",
        help="say what this machine has, and what bundles would run on",
        description="Say what this machine has. With bundles: on which devices each would run, why not on the others, and "
        "whether its known answer is right here.",
    )
    parser.add_argument("bundles", nargs="*", metavar="BUNDLE", help="folder made by perceiver-export")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.set_defaults(function=run, render=render)


def run(arguments: argparse.Namespace) -> dict[str, object]:
    """Look at everything; what is missing is a finding, not an error."""
    found, bundles = machine(), [examine(folder) for folder in arguments.bundles]
    return {"machine": found, "bundles": bundles, "next": next_steps(found, bundles)}


def machine() -> dict[str, str]:
    """What is here, by name; in place of what is missing, why."""
    (free, total), threads = memory(), default_threads()
    found = {
        "perceiver-runtime": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "memory": f"{free / 1e9:.1f} of {total / 1e9:.1f} GB free" if total else "unknown",
        "threads": f"{threads.count} by default: {threads.reason}",
        "jetson": first_line(TEGRA_RELEASE) or "no",
        "jetpack": jetpack(),
        "power mode": power_mode(),
        "onnxruntime": _or_why(lambda: f"{onnxruntime().__version__}, {', '.join(onnxruntime().get_available_providers())}"),
        "openvino": _or_why(lambda: openvino().__version__),
        "driver": first_line(DRIVER_VERSION) or "no NVIDIA driver found",
        "cuda": _or_why(lambda: f"{cuda().version}, driver up to {cuda().driver_version}, {cuda().path}"),
        "gpu": _or_why(_gpus),
        "tensorrt": _or_why(lambda: f"{tensorrt().__version__}, {tensorrt().__name__}"),
        "tensorrt for rtx": _or_why(lambda: f"{tensorrt_rtx().__version__}, {tensorrt_rtx().__name__}"),
        "float32": f"with cuda: no TF32; ort-tensorrt: {ort_providers.TENSORRT.float32()}; tensorrt: no TF32",
    }
    if platform.machine() in ("aarch64", "arm64"):
        found["fp16 on this CPU"] = "sums in fp16 and is less exact than on x86: prefer fp32 bundles on the CPU"
    return found


def examine(folder: str) -> dict[str, Any]:
    """A bundle: `devices`, why not where it does not run; `known_answer` on what `auto` takes; `fallback`, why that."""
    try:
        bundle = open_bundle(folder)
        check_task(bundle, None)
    except PerceiverError as error:
        return {"bundle": folder, "refused": str(error)}
    manifest = bundle.manifest
    found = {"bundle": folder, **{name: getattr(manifest, name) for name in ("task", "precision", "target")}}
    found["devices"] = devices(bundle)
    try:
        missing = [] if found["devices"]["tensorrt"] else unbuilt(bundle)
        if missing:  # building takes minutes, and wants the power mode set first
            waiting = f"not run: no engine of {', '.join(missing)} is built yet: perceiver build {folder}"
            return found | {"provider": "", "fallback": "", "known_answer": waiting, "unbuilt": missing}
        with _fallbacks() as said, open_pipeline(bundle, RuntimeOptions()) as pipeline:
            found |= {"provider": pipeline.provider, "fallback": "; ".join(said())}
            check_known_answer(pipeline, Sample.read(bundle.read(FILE)), tolerances(manifest))
            found["known_answer"] = ""
    except PerceiverError as error:
        found["known_answer"] = str(error)
    return found


@contextlib.contextmanager
def _fallbacks() -> Iterator[Callable[[], list[str]]]:
    """Takes warnings that a bundle runs elsewhere than it should; what they say."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ProviderFallbackWarning)
        yield lambda: [str(each.message) for each in caught if issubclass(each.category, ProviderFallbackWarning)]


def devices(bundle: Bundle) -> dict[str, str]:
    """By device: why a bundle does not run there; empty where it should."""
    return {device: why_not(bundle, device) for device in DEVICE_RECORDS}


def why_not(bundle: Bundle, device: str) -> str:
    """Why a bundle does not run on a device; empty where it should."""
    record = DEVICE_RECORDS[device]
    if bundle.manifest.precision == "bf16" and record.is_cpu:
        return "no CPU runs a bfloat16 bundle"
    return record.unavailable_reason(bundle)


def memory() -> tuple[int, int]:
    """Bytes free and bytes in all of the host's memory, which a Jetson's GPU shares; zeros where the system does not say."""
    sizes = {}
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            name, _, rest = line.partition(":")
            sizes[name] = int(rest.split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        return 0, 0
    return sizes.get("MemAvailable", 0), sizes.get("MemTotal", 0)


def _gpus() -> str:
    return "; ".join(_gpu(number) for number in range(cuda().count))


def _gpu(number: int) -> str:
    here = cuda().on(number)
    free, total = here.memory()
    name = f"{number}: {gpu_name(number)}" if here.count > 1 else gpu_name(number) or "unnamed"
    return f"{name}, compute capability {here.compute_capability}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free"


def next_steps(machine: dict[str, str], bundles: list[dict[str, Any]]) -> list[str]:
    """What to do next, in order."""
    steps = []
    jetson, waiting = machine["jetson"] != "no", [each for each in bundles if each.get("unbuilt")]
    if jetson and machine["tensorrt"].startswith("no: "):
        steps.append("make the virtual environment again with --system-site-packages: JetPack's tensorrt is the system's")
    if jetson and machine["gpu"].startswith("no: "):
        steps.append("install JetPack's CUDA: sudo apt-get install nvidia-jetpack")
    if jetson and waiting:
        steps.append("set the power mode, for engines are measured in it: sudo nvpmodel -m 0 && sudo jetson_clocks")
    workspace = " --workspace 1GB" if jetson else ""
    steps += [f"build engines, minutes: perceiver build {each['bundle']}{workspace}" for each in waiting]
    for each in bundles:
        if "refused" in each:
            steps.append(f"copy {each['bundle']} again, or export it again")
        elif each["known_answer"] == "":
            steps.append(f"measure: perceiver bench {each['bundle']}, or perceiver report {each['bundle']} to send back")
    return steps


def _or_why(question: Any) -> str:
    try:
        return str(question())
    except PerceiverError as error:
        return f"no: {error}"


def render(result: dict[str, Any]) -> str:
    """The same for people."""
    lines = [f"{name:18} {value}" for name, value in result["machine"].items()]
    for found in result["bundles"]:
        if "refused" in found:
            lines += ["", f"{found['bundle']}: refused. {found['refused']}"]
            continue
        lines += ["", f"{found['bundle']}: {found['task']}, {found['precision']}, target {found['target']}"]
        lines += [f"  {device:14} {why or 'yes'}" for device, why in found["devices"].items()]
        if found.get("fallback"):
            lines.append(f"  {'auto':14} {found['fallback']}")
        verdict = f"not right: {found['known_answer']}" if found["known_answer"] else f"right, on {found['provider']}"
        lines.append(f"  {'known answer':14} {verdict}")
    if result["next"]:
        lines += ["", "next:", *(f"  {step}" for step in result["next"])]
    return "\n".join(lines)
