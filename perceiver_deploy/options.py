"""Which options of an export there are, and which do not fit together."""

from __future__ import annotations

import math
from collections.abc import Collection

from perceiver_export.passes.table import ALL_PASSES
from perceiver_export.targets import EIGHT_BITS, TARGETS, Precision
from perceiver_runtime import UsageError
from perceiver_runtime.common.amounts import memory_bytes

# what each is for
PRECISIONS: dict[Precision, str] = {
    "fp32": "single precision (default)",
    "fp16": "half precision: half the size, for GPUs; verified against fp32",
    "bf16": "bfloat16, for TensorRT, no CPU runs it: fewer digits, no overflow; verified in emulation",
    "int8": "8-bit integers in linear layers, as many as accuracy allows: smaller and faster; verified against fp32",
    "fp8": "8-bit floating point (E4M3) in those, for TensorRT on SM 89 and later; verified against fp32",
}


def check_options(
    *,
    passes: Collection[str],
    precision: str,
    target: str,
    fused: bool,
    calibration: bool = False,
    int8_limit: float | None = None,
) -> None:
    """Raise `UsageError` for an option that does not exist, and for those that do not fit together."""
    if isinstance(passes, str) or not set(passes) <= set(ALL_PASSES):
        raise UsageError(f"unknown passes in {passes!r}; a tuple of some of: {', '.join(ALL_PASSES)}; () for none")
    for option, value, known in (("precision", precision, [*PRECISIONS]), ("target", target, [*TARGETS])):
        if value not in known:
            raise UsageError(f"unknown {option} {value!r}; available: {', '.join(known)}")
    chosen = TARGETS[target]
    if precision not in chosen.precisions:
        others = " or ".join(f"--target {name}" for name, other in TARGETS.items() if precision in other.precisions)
        raise UsageError(
            f"{precision} is not for {chosen.runs_on}, which takes {', '.join(chosen.precisions)}: one of those, or {others}"
        )
    if precision not in EIGHT_BITS and (calibration or int8_limit is not None):
        option = "--calibration" if calibration else "--int8-limit"
        raise UsageError(f"{option} is for 8 bits: add --int8 or --fp8, or leave it out")
    if int8_limit is not None and not (math.isfinite(int8_limit) and int8_limit > 0):
        raise UsageError(f"--int8-limit {int8_limit:g} should be above 0")
    if fused and not chosen.fused:
        others = " or ".join(other.runs_on for other in TARGETS.values() if other.fused)
        raise UsageError(f"one graph of the whole model is for {others}: leave out --fused, or --target {target}")


def memory_budget_bytes(given: int | str | None, target: str) -> int:
    """The bytes that a stored score matrix may have: as given, else the target's. Raises `UsageError`."""
    return TARGETS[target].memory_budget if given is None else memory_bytes("memory_budget", given)


def combinations() -> str:
    """The table of what fits together, for `--help`."""
    lines = ["precisions by target:"]
    for name, target in TARGETS.items():
        fused = ", --fused" if target.fused else ""
        lines.append(f"  --target {name:10}{', '.join(target.precisions)}{fused}   ({target.runs_on})")
    return "\n".join(lines)
