"""What runs a bundle's graphs: ONNX Runtime on a CPU or GPU, TensorRT, or OpenVINO. The rules for which are here.

`auto` is TensorRT for a bundle made for it where TensorRT finds a GPU, else CUDA where this ONNX Runtime has it and it starts,
else the CPU with ONNX Runtime; with a limit of memory it is the CPU. A bundle that runs elsewhere than it was made for, or than
`auto` would take without a limit, is one `ProviderFallbackWarning` that says where and why. OpenVINO is taken only where it is
named. A device that is named is used, or an error says why it cannot be: nothing else is taken in its place.

`cuda:1` is the GPU of that number. Several devices are a list, or names with commas: each has all graphs, and calls are spread.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from perceiver_runtime.backends.device import Device, Graph, OpenOptions
from perceiver_runtime.backends.onnxruntime import ORT_BEST, ORT_CPU, ORT_CUDA, ORT_TENSORRT, choose_providers
from perceiver_runtime.backends.openvino import OPENVINO, OPENVINO_BF16
from perceiver_runtime.backends.placement import Placement, placements
from perceiver_runtime.backends.spread import spread
from perceiver_runtime.backends.tensorrt.backend import TENSORRT, TENSORRT_RTX, unavailable_reason
from perceiver_runtime.bundle.reader import Bundle
from perceiver_runtime.common.errors import BackendError, ProviderFallbackWarning, UsageError

CPU = "CPUExecutionProvider"
DEVICE_RECORDS: dict[str, Device] = {
    device.name: device for device in (ORT_CPU, ORT_CUDA, TENSORRT, TENSORRT_RTX, ORT_TENSORRT, OPENVINO, OPENVINO_BF16)
}
DEVICES = ("auto", *DEVICE_RECORDS)


def open_graphs(
    bundle: Bundle,
    names: Sequence[str],
    *,
    device: str | Sequence[str] = "auto",
    threads: int | None = None,
    keep: bool = False,
    max_memory: int | None = None,
) -> dict[str, Graph]:
    """Some graphs of a bundle on a device, one of `DEVICES`, or on several; see `OpenOptions`.

    Raises `UsageError`, `BackendError`.
    """
    wanted = [read_device(each) for each in placements(device)]
    opened: list[dict[str, Graph]] = []
    try:
        for each in wanted:
            opened.append(_open(bundle, names, each, OpenOptions(threads, keep, each.gpu or 0, max_memory)))
    except BaseException:
        for graph in [graph for graphs in opened for graph in graphs.values()]:
            graph.close()
        raise
    return opened[0] if len(opened) == 1 else spread(opened)


def read_device(text: str) -> Placement:
    """A device and its GPU. Raises `UsageError` for what is no device, or has no GPU of a number."""
    placement = Placement.read(text)
    if placement.device not in DEVICES:
        raise UsageError(f"unknown device {text!r}; available: {', '.join(DEVICES)}")
    record = DEVICE_RECORDS.get(placement.device)
    if placement.gpu is not None and not (record is not None and record.numbered):
        numbered = ", ".join(f"{name}:0" for name, each in DEVICE_RECORDS.items() if each.numbered)
        raise UsageError(f"device {text!r}: only {numbered} and so on have a number, that of a GPU")
    return placement


def devices_argument(text: str) -> str:
    """`text`, if it names devices, for a command line. Raises `UsageError`."""
    for each in placements(text):
        read_device(each)
    return text


def unplanned(device: str | Sequence[str]) -> list[str]:
    """Which of the devices that were named the memory plan of a bundle does not hold for. Raises `UsageError`."""
    records = [DEVICE_RECORDS.get(read_device(each).device) for each in placements(device)]
    return [record.name for record in records if record is not None and not record.planned]


def _open(bundle: Bundle, names: Sequence[str], wanted: Placement, options: OpenOptions) -> dict[str, Graph]:
    device = _chosen(bundle) if wanted.device == "auto" else wanted.device
    chosen = DEVICE_RECORDS.get(device, ORT_BEST)
    on_cpu = chosen.is_cpu or (chosen is ORT_BEST and choose_providers(device)[0] == CPU)
    if on_cpu and bundle.manifest.precision == "bf16":
        raise BackendError(_no_bfloat16(bundle))
    return dict(chosen.open(bundle, names, options))


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
