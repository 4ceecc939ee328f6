"""The known answer in a bundle: inputs as a user would give them, and what the reference model makes of them.

sample.npz holds arrays under `input.NAME` and `output.NAME`; which names, each pipeline's `known_answer` says.
"""

from __future__ import annotations

import io
import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from perceiver_runtime.bundle.manifest import Manifest
from perceiver_runtime.common.arrays import Array
from perceiver_runtime.common.errors import IntegrityError, VerificationError
from perceiver_runtime.tasks.pipeline import Pipeline

FILE = "sample.npz"
MAX_SAMPLE_BYTES = 1 << 28
_BFLOAT16_FACTOR = 20.0  # how much further off a float32 bundle may be where products are in bfloat16: 8 bits, not 24


class _Inputs(dict[str, Array]):
    def __missing__(self, name: str) -> Array:
        raise IntegrityError(f"the known answer lacks the input {name!r}: export the bundle again")


@dataclass(frozen=True)
class Sample:
    """Inputs and the reference's outputs, by name."""

    inputs: dict[str, Array]
    outputs: dict[str, Array]

    @classmethod
    def read(cls, source: Path | bytes) -> Sample:
        """Read `sample.npz`, by its path or its content. Raises `IntegrityError`."""
        path = source if isinstance(source, Path) else FILE
        inputs: dict[str, Array] = _Inputs()
        outputs: dict[str, Array] = {}
        try:
            with zipfile.ZipFile(source if isinstance(source, Path) else io.BytesIO(source)) as archive:
                members = archive.infolist()
            unpacked = sum(member.file_size for member in members)
            if len({member.filename for member in members}) < len(members):
                raise ValueError("it holds two members of one name")
            if unpacked > MAX_SAMPLE_BYTES:
                raise ValueError(f"it unpacks to {unpacked} bytes, more than the {MAX_SAMPLE_BYTES} allowed")
            with np.load(source if isinstance(source, Path) else io.BytesIO(source), allow_pickle=False) as arrays:
                for key in arrays.files:
                    kind, name = key.split(".")
                    {"input": inputs, "output": outputs}[kind][name] = arrays[key]
        except Exception as error:
            raise IntegrityError(f"{path} is no known answer ({error!r}): export the bundle again") from error
        if not inputs or not outputs:
            raise IntegrityError(f"{path} lacks inputs or outputs: export the bundle again")
        return cls(inputs, outputs)

    def write(self, path: Path) -> None:
        """Write `sample.npz`."""
        arrays = {f"input.{name}": array for name, array in self.inputs.items()}
        arrays |= {f"output.{name}": array for name, array in self.outputs.items()}
        np.savez_compressed(path, **arrays)  # type: ignore[arg-type]


def tolerances(manifest: Manifest) -> dict[str, float]:
    """The largest error allowed for each output of the known answer. Raises `IntegrityError`."""
    found: Any = manifest.parity.get("known_answer_tolerance")
    valid = isinstance(found, dict) and found and all(type(value) is float and value > 0 for value in found.values())
    if not valid or not all(map(math.isfinite, found.values())):
        raise IntegrityError("the manifest gives no tolerance for the known answer: export the bundle again")
    result: dict[str, float] = found
    return result


def check_known_answer(pipeline: Pipeline, sample: Sample, allowed: dict[str, float]) -> dict[str, Any]:
    """Compare the pipeline with the known answer.

    Returns the metrics of each output, its own spread among them; raises `VerificationError` if an error exceeds what is
    allowed, `IntegrityError` if the sample is not this task's.
    """
    try:
        found = pipeline.known_answer(sample.inputs)
    except KeyError as missing:
        raise IntegrityError(f"the known answer lacks the input {missing}: export the bundle again") from missing
    if not found.keys() == sample.outputs.keys() == allowed.keys():
        raise IntegrityError(
            f"the known answer has {sorted(sample.outputs)} with tolerances for {sorted(allowed)}, this task gives "
            f"{sorted(found)}: export the bundle again"
        )
    if pipeline.manifest.precision == "fp32" and pipeline.arithmetic == "bfloat16":
        allowed = {name: _BFLOAT16_FACTOR * limit for name, limit in allowed.items()}
    outputs = {}
    for name, expected in sample.outputs.items():
        if found[name].shape != expected.shape:
            raise IntegrityError(f"the known answer has {name} of shape {expected.shape}, found {found[name].shape}")
        error = np.abs(found[name] - expected)
        outputs[name] = {
            "values": int(expected.size),
            "max_error": float(error.max()),
            "mean_error": float(error.mean()),
            "spread": float(expected.std()),
            "tolerance": allowed[name],
        }
        if not error.max() <= allowed[name]:
            raise VerificationError(
                f"the known answer's {name} is off by {error.max():.3g} at most, {allowed[name]:.3g} is allowed: the bundle or "
                f"this machine's {pipeline.provider} is not right; export the bundle again, or try another version or device"
            )
    return {"outputs": outputs, "provider": pipeline.provider}
