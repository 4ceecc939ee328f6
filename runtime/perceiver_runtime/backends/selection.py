"""What runs a bundle's graphs: ONNX Runtime on a CPU or GPU, TensorRT, or OpenVINO. The rules for which are here.

`auto` is TensorRT for a bundle made for it where TensorRT finds a GPU, else CUDA where this ONNX Runtime has it and it starts,
else the CPU with ONNX Runtime; with a limit of memory it is the CPU. A bundle that runs elsewhere than it was made for, or than
`auto` would take without a limit, is one `ProviderFallbackWarning` that says where and why. OpenVINO is taken only where it is
named. A device that is named is used, or an error says why it cannot be: nothing else is taken in its place.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from perceiver_runtime.backends.device import Device, Graph, OpenOptions
from perceiver_runtime.backends.onnxruntime import ORT_BEST, ORT_CPU, ORT_CUDA, ORT_TENSORRT, choose_providers
from perceiver_runtime.backends.openvino import OPENVINO, OPENVINO_BF16
from perceiver_runtime.backends.tensorrt.backend import TENSORRT, unavailable_reason
from perceiver_runtime.bundle.reader import Bundle
from perceiver_runtime.common.errors import BackendError, ProviderFallbackWarning, UsageError

CPU = "CPUExecutionProvider"
DEVICE_RECORDS: dict[str, Device] = {
    device.name: device for device in (ORT_CPU, ORT_CUDA, TENSORRT, ORT_TENSORRT, OPENVINO, OPENVINO_BF16)
}
DEVICES = ("auto", *DEVICE_RECORDS)


def open_graphs(
    bundle: Bundle, names: Sequence[str], *, device: str = "auto", threads: int | None = None, keep: bool = False
) -> dict[str, Graph]:
    """Some graphs of a bundle on a device, one of `DEVICES`; with `keep`, what takes little keeps its memory between runs.

    Raises `UsageError`, `BackendError`.
    """
    if device not in DEVICES:
        raise UsageError(f"unknown device {device!r}; available: {', '.join(DEVICES)}")
    if device == "auto":
        device = _chosen(bundle)
    chosen = DEVICE_RECORDS.get(device, ORT_BEST)
    on_cpu = chosen.is_cpu or (chosen is ORT_BEST and choose_providers(device)[0] == CPU)
    if on_cpu and bundle.manifest.precision == "bf16":
        raise BackendError(_no_bfloat16(bundle))
    return dict(chosen.open(bundle, names, OpenOptions(threads, keep)))


def without_gpu(bundle: Bundle) -> str:
    """The device in place of `auto` where memory is limited: the CPU, with a warning if `auto` would take another."""
    provider = choose_providers("auto")[0]
    if provider != CPU:
        _warn(f"{bundle.folder} runs on the CPU, not on {provider}: max_memory is planned for ONNX Runtime on a CPU")
    return "cpu"


def _chosen(bundle: Bundle) -> str:
    """What `auto` is for a bundle: `tensorrt`, or `auto` for the best that ONNX Runtime has."""
    if bundle.manifest.target != "tensorrt":
        return "auto"
    reason = unavailable_reason()
    if not reason:
        return "tensorrt"
    try:
        provider = choose_providers("auto")[0]
    except BackendError as error:
        raise BackendError(
            f"{bundle.folder} was exported for TensorRT, which cannot run here: {reason}. ONNX Runtime could run it "
            f"on the CPU, slower: {error}"
        ) from error
    if bundle.manifest.precision == "bf16" and provider == CPU:
        raise BackendError(f"{_no_bfloat16(bundle)}. TensorRT cannot run here: {reason}")
    _warn(f"{bundle.folder} was exported for TensorRT and runs on {provider}, slower. TensorRT cannot run here: {reason}")
    return "auto"


def _no_bfloat16(bundle: Bundle) -> str:
    return f"{bundle.folder} is in bfloat16, which no CPU runs: use TensorRT, or export it with --fp16"


def _warn(message: str) -> None:
    warnings.warn(message, ProviderFallbackWarning, stacklevel=4)
