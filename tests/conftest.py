"""Checkpoints and bundles that several tests share; each is made once a session."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before tests import onnxruntime themselves
if "PYTEST_XDIST_WORKER" in os.environ and hasattr(os, "sched_setaffinity"):
    # a core for each worker: libraries that spin for work would take it from the others
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[int(os.environ["PYTEST_XDIST_WORKER"][2:]) % len(cores)]})

import pytest
import torch
from filelock import FileLock
from published import PUBLISHED, TINY, save_random_checkpoint
from slow import is_long, is_slow
from transformers import PerceiverForOpticalFlow
from triton_server import PACKAGES as TRITON_PACKAGES

from perceiver_deploy import export_bundle
from perceiver_deploy.cli import main as export
from perceiver_export.targets import Precision
from perceiver_runtime.common.children import python_code, python_module

ROOT = Path(__file__).parent.parent


Once = Callable[[str, Callable[[Path], object]], Path]


class HuggingFace:
    """A folder written by `save_pretrained`, and the model that wrote it."""

    def __init__(self, folder: Path, **config: object) -> None:
        self.folder = folder
        self.model: PerceiverForOpticalFlow = save_random_checkpoint(folder, **config)


TOY = Path(__file__).parent / "toy_task"  # a task and a kind of input of another package
_SAVE_TOY = """
import sys, torch, perceiver_io as pio
from perceiver_toy.model import SeriesClassifier, SeriesConfig
torch.manual_seed(0)
encoder = pio.EncoderConfig(num_latents=8, latent_channels=16, layers_per_block=2, self_attention_heads=4)
model = SeriesClassifier(SeriesConfig(encoder, pio.DecoderConfig(), ("rest", "walk", "run"), channels=3))
for parameter in model.parameters():
    torch.nn.init.normal_(parameter, std=0.3)
pio.save_checkpoint(model, sys.argv[1])
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what slow.py names."""
    for item in items:
        if is_slow(item.nodeid) or "device_python" in getattr(item, "fixturenames", ()):  # which installs packages
            item.add_marker("slow")
        if is_long(item.nodeid):
            item.add_marker("long")


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """What `make` writes at a path, by name: made once for all processes. Do not change it: copy it."""
    folder = tmp_path_factory.getbasetemp()
    shared = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "once"
    shared.mkdir(exist_ok=True)

    def made(name: str, make: Callable[[Path], object]) -> Path:
        path, done = shared / name, shared / f"{name}.done"
        with FileLock(shared / f"{name}.lock"):
            if not done.exists():
                shutil.rmtree(path, ignore_errors=True)  # what an attempt that failed has left
                make(path)
                done.touch()
        return path

    return made


def make_environment(folder: Path, *packages: str) -> None:
    """A virtual environment with perceiver-runtime from here."""
    subprocess.run([*python_module("venv"), folder], check=True)
    install = [*python_module("pip", folder / "bin" / "python"), "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*install, *packages], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"it does not install here: {done.stderr.strip().splitlines()[-1]}")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> HuggingFace:
    """A transformers flow checkpoint small enough for every test, 40x56."""
    return HuggingFace(tmp_path_factory.mktemp("checkpoints") / "tiny", **TINY)


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> HuggingFace:
    """A transformers flow checkpoint of the published size, 368x496."""
    return HuggingFace(tmp_path_factory.mktemp("checkpoints") / "published", **PUBLISHED)


@pytest.fixture(scope="session")
def tiny_bundle(tiny: HuggingFace, once: Once) -> Path:
    """`tiny`, exported. Do not change it: copy it."""
    return once("tiny", lambda output: export_bundle(task="flow", checkpoint=tiny.folder, output=output))


@pytest.fixture(scope="session")
def shipped(once: Once) -> Callable[..., Path]:
    """A task's shipped checkpoint as a bundle. Do not change it: copy it."""

    def bundle(task: str, *, precision: Precision = "fp32") -> Path:
        return once(f"{task}-{precision}", lambda output: export_bundle(task=task, output=output, precision=precision))

    return bundle


@pytest.fixture(scope="session")
def small_bundle(shipped: Callable[..., Path]) -> Path:
    """The shipped flow checkpoint, exported. Do not change it: copy it."""
    return shipped("flow")


@pytest.fixture(scope="session")
def occupancy(once: Once) -> Path:
    """A model of one's own for `arrays`, as the command line exports it. Do not change it: copy it."""
    options = ["--inputs", "points=array:M=1..300,3,mask=mask", "--queries", "positions=positions:3,most=500"]
    command = ["--model", "own_models:make_occupancy", *options, "--outputs", "occupancy=array:O,1", "-o"]

    def make(output: Path) -> None:
        assert export([*command, str(output)]) == 0

    return once("occupancy", make)


@pytest.fixture(scope="session")
def device_python(once: Once) -> Path:
    """The Python of a virtual environment that holds perceiver-runtime, numpy and onnxruntime, as on a device."""
    packages = ["--constraint", str(ROOT / "constraints.txt"), f"{ROOT / 'runtime'}[cpu]"]
    return once("device-venv", lambda folder: make_environment(folder, *packages)) / "bin" / "python"


@pytest.fixture(scope="session")
def ray_python(once: Once) -> Path:
    """The Python of a virtual environment that holds perceiver-runtime with Ray."""
    packages = ["--constraint", str(ROOT / "constraints.txt"), f"{ROOT / 'runtime'}[cpu,images,ray]"]
    try:
        return once("ray-venv", lambda folder: make_environment(folder, *packages)) / "bin" / "python"
    except RuntimeError as error:
        pytest.skip(f"Ray: {error}")


@pytest.fixture(scope="session")
def triton_python(once: Once) -> Path:
    """The Python of a virtual environment that holds a Triton server and perceiver-runtime."""
    packages = [*TRITON_PACKAGES, str(ROOT / "runtime")]
    try:
        return once("triton-venv", lambda folder: make_environment(folder, *packages)) / "bin" / "python"
    except RuntimeError as error:
        pytest.skip(f"Triton's wheel: {error}")


@pytest.fixture(autouse=True)
def fixed_seed() -> None:
    """Every test draws the same random numbers each time."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def toy_python(once: Once) -> Path:
    """A Python that has the toy package, and all that this one has."""
    return once("toy-venv", _make_toy) / "bin" / "python"


def _make_toy(folder: Path) -> None:
    venv.create(folder, with_pip=False)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    here = [path for path in sys.path if path.endswith("site-packages")]
    (site / "here.pth").write_text("".join(f"import site; site.addsitedir({path!r})\n" for path in here))
    source = shutil.copytree(TOY, folder / "source")  # its build leaves files there
    install = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--target", str(site), str(source)]
    subprocess.run([*python_module("pip"), *install], check=True)


@pytest.fixture(scope="session")
def toy_bundle(toy_python: Path, once: Once) -> Path:
    """A bundle of the toy package's task. Do not change it: copy it."""

    def make(folder: Path) -> None:
        subprocess.run([*python_code(_SAVE_TOY, toy_python), str(folder / "checkpoint")], check=True)
        export = [*python_module("perceiver_deploy.cli", toy_python), "--checkpoint", str(folder / "checkpoint")]
        done = subprocess.run([*export, "-o", str(folder / "bundle")], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "the task is series-classification, the checkpoint's own" in done.stderr

    return once("toy", make) / "bundle"
