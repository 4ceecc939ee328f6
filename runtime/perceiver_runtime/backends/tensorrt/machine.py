"""What an engine depends on beside its graph: this machine's TensorRT, GPU and driver."""

from __future__ import annotations

import dataclasses
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perceiver_runtime.backends.cuda import Cuda, gpu_name

TEGRA_RELEASE = Path("/etc/nv_tegra_release")  # on a Jetson: L4T's version
DRIVER_VERSION = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class Machine:
    """An engine made on another one is of no use here."""

    tensorrt: str
    library: str  # the module: tensorrt, or that of TensorRT for RTX
    gpu: str
    compute_capability: str
    cuda: str
    driver: str
    system: str  # L4T's release on a Jetson

    @classmethod
    def here(cls, trt: Any, cuda: Cuda) -> Machine:
        """What it is."""
        return cls(
            tensorrt=str(trt.__version__),
            library=str(trt.__name__),
            gpu=gpu_name(cuda.gpu),
            compute_capability=cuda.compute_capability,
            cuda=cuda.version,
            driver=first_line(DRIVER_VERSION) or f"CUDA {cuda.driver_version}",
            system=first_line(TEGRA_RELEASE) or f"{platform.system()} {platform.machine()}",
        )

    @classmethod
    def elsewhere(cls, trt: Any) -> Machine:
        """Any that has this TensorRT, for engines of TensorRT for RTX, which are for a compute capability."""
        return cls(str(trt.__version__), str(trt.__name__), "", "", "", "", "")

    def to_json(self) -> dict[str, str]:
        """The fields."""
        return dataclasses.asdict(self)


def first_line(path: Path) -> str:
    """Of a file of the system's; empty where it is not there."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.readline().strip()
    except OSError:
        return ""


def power_mode() -> str:
    """A Jetson's, by nvpmodel."""
    return _answer("nvpmodel", "-q") or "nvpmodel says nothing: try sudo nvpmodel -q"


def jetpack() -> str:
    """The version of JetPack that is installed as a package of the system's, on a Jetson."""
    if not TEGRA_RELEASE.exists():
        return "no, this is no Jetson"
    return _answer("dpkg-query", "-W", "-f", "${Version}", "nvidia-jetpack") or "its package nvidia-jetpack is not installed"


def _answer(name: str, *arguments: str) -> str:
    """What a tool of the system's says, in one line."""
    folders = [folder for folder in (*os.get_exec_path(), "/usr/sbin") if os.path.isabs(folder)]  # never the current one
    tool = shutil.which(name, path=os.pathsep.join(folders))
    if tool is None:
        return f"no {name} here"
    try:
        answer = subprocess.run([tool, *arguments], capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.SubprocessError) as error:
        return f"{name} does not answer ({error})"
    return " ".join(answer.split())
