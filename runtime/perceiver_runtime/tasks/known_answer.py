"""The known answer in a bundle: inputs as a user would give them, and what the reference model makes of them.

sample.npz holds arrays under `input.NAME` and `output.NAME`; which names, each pipeline's `known_answer` says.
"""

from __future__ import annotations

import io
import math
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from perceiver_runtime.bundle.manifest import Manifest
from perceiver_runtime.common.arrays import Array
from perceiver_runtime.common.errors import InputError, IntegrityError, VerificationError
from perceiver_runtime.files.arrays import read_header
from perceiver_runtime.tasks.pipeline import Pipeline

FILE = "sample.npz"
MAX_SAMPLE_BYTES = 1 << 28
_BFLOAT16_FACTOR = 20.0  # how much further off a float32 bundle may be where products are in bfloat16: 8 bits, not 24


class _Arrays(dict[str, Array]):
    def __missing__(self, name: str) -> Array:
        raise IntegrityError(f"the known answer lacks the input {name!r}: export the bundle again")


class _Field(NamedTuple):
    """What an array of the file may be: its types and its numbers of axes."""

    types: frozenset[str]
    axes: tuple[int, ...]


_FLOATS = frozenset({"float32", "float64"})
_PICTURE = _Field(_FLOATS | {"uint8"}, (2, 3))
_PLACES = _Field(frozenset({"int64"}), (1,))
_INPUTS = {
    "frame1": _PICTURE,
    "frame2": _PICTURE,
    "image": _PICTURE,
    "video": _Field(_PICTURE.types, (3, 4)),
    "audio": _Field(_FLOATS | {"uint8", "int16", "int32"}, (1, 2)),
    "vectors": _Field(_FLOATS, (2,)),
    "text": _Field(frozenset({"uint8"}), (1,)),
    "points": _Field(_FLOATS | {"int64"}, (2,)),
    "pixels": _PLACES,
    "patches": _PLACES,
    "rows": _PLACES,
}
_OUTPUTS = {name: _Field(_FLOATS, (1, 2)) for name in ("flow", "logits", "rgb", "samples", "latents")}
_KINDS = {"input": _INPUTS, "output": _OUTPUTS}
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_OF_ANOTHER_TASK = _Field(_FLOATS | {"uint8", "int16", "int32", "int64"}, (1, 2, 3, 4, 5))  # of another package


@dataclass(frozen=True)
class Sample:
    """Inputs and the reference's outputs, by name."""

    inputs: dict[str, Array]
    outputs: dict[str, Array]

    @classmethod
    def read(cls, source: Path | bytes) -> Sample:
        """Read `sample.npz`, by its path or its content. Raises `IntegrityError`, which names the array that is wrong."""
        path = source if isinstance(source, Path) else FILE
        found: dict[str, dict[str, Array]] = {kind: _Arrays() for kind in _KINDS}
        try:
            with zipfile.ZipFile(source if isinstance(source, Path) else io.BytesIO(source)) as archive:
                members = archive.infolist()
                unpacked = sum(member.file_size for member in members)
                if len({member.filename for member in members}) < len(members):
                    raise ValueError("it holds two members of one name")
                if unpacked > MAX_SAMPLE_BYTES:
                    raise ValueError(f"it unpacks to {unpacked} bytes, more than the {MAX_SAMPLE_BYTES} allowed")
                for member in members:
                    kind, _, name = member.filename.removesuffix(".npy").partition(".")
                    if kind not in _KINDS or not _NAME.fullmatch(name):
                        raise ValueError(f"it holds {member.filename[:80]!r}, which is no input and no output")
                    field = _KINDS[kind].get(name, _OF_ANOTHER_TASK)
                    with archive.open(member) as file:
                        found[kind][name] = _array(file, field, f"{kind}.{name}")
        except Exception as error:  # zipfile raises many
            raise IntegrityError(f"{path} is no known answer ({error}): export the bundle again") from error
        if not all(found.values()):
            raise IntegrityError(f"{path} lacks inputs or outputs: export the bundle again")
        return cls(found["input"], found["output"])

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
    except InputError as refused:
        raise IntegrityError(f"the known answer's inputs cannot be used ({refused}): export the bundle again") from refused
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


def _array(file: IO[bytes], field: _Field, name: str) -> Array:
    """An array of the file, which is as long as its header says. Raises `ValueError`."""
    try:
        header = read_header(file)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    kind = header.dtype.newbyteorder("=")
    if kind.name not in field.types or len(header.shape) not in field.axes or 0 in header.shape:
        raise ValueError(f"{name} is {kind.name} of shape {header.shape}, which it cannot be")
    if header.nbytes > MAX_SAMPLE_BYTES:
        raise ValueError(f"{name} of shape {header.shape} has {header.nbytes} bytes, more than the file")
    raw = file.read(header.nbytes + 1)
    if len(raw) != header.nbytes:
        raise ValueError(f"{name} of shape {header.shape} should have {header.nbytes} bytes, {len(raw)} or more follow")
    values = np.frombuffer(raw, header.dtype).reshape(header.shape, order="F" if header.fortran_order else "C").astype(kind)
    if kind.kind == "f" and not np.isfinite(values).all():
        raise ValueError(f"{name} holds NaN or infinity")
    return values
