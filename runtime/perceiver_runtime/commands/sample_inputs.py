"""`--sample`: the inputs of a bundle's known answer, as what a user would have typed."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from perceiver_runtime.bundle.manifest import Manifest
from perceiver_runtime.bundle.reader import open_bundle
from perceiver_runtime.common.arrays import Array
from perceiver_runtime.files.wav import write_wav
from perceiver_runtime.processing.multimodal import MultimodalProcessor
from perceiver_runtime.processing.text import from_bytes
from perceiver_runtime.tasks.known_answer import FILE, Sample


@contextlib.contextmanager
def sample_inputs(bundle_folder: str) -> Iterator[list[str]]:
    """The arguments that name the inputs; their files are there until the end. Raises `IntegrityError`."""
    bundle = open_bundle(bundle_folder)
    sample = Sample.read(bundle.read(FILE))
    with tempfile.TemporaryDirectory(prefix="perceiver-sample-") as folder:
        yield _arguments(sample.inputs, Path(folder), bundle.manifest)


def _arguments(inputs: Mapping[str, Array], folder: Path, manifest: Manifest) -> list[str]:
    if "text" in inputs:
        return ["--", from_bytes(inputs["text"])]
    if "video" in inputs:
        np.save(folder / "video.npy", inputs["video"])
        write_wav(folder / "audio.wav", inputs["audio"], MultimodalProcessor.from_json(manifest.processor).sampling_rate)
        return ["--audio", str(folder / "audio.wav"), "--", str(folder / "video.npy")]
    names = [name for name in ("frame1", "frame2", "image", "vectors") if name in inputs]
    for name in names:
        np.save(folder / f"{name}.npy", inputs[name])
    return ["--", *(str(folder / f"{name}.npy") for name in names)]
