"""Where the time of a bundle's graphs goes on a CPU: operators by time, and how near products come to the matrix peak.

    python benchmarks/profile_cpu.py BUNDLE [--task image-fourier] [--device cpu | openvino | openvino-bf16] [--rows 12]

The usual inputs of the published sizes, random; as many calls to warm up as are measured; means. GFLOP/s are of counted
multiplications and additions; the peak is that of numpy's float32 product, measured in the same process. OpenVINO fuses
operators and names what is left after its own kinds, without counts.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundle_run import BundleRun
from cpu_sides import TASKS, inputs_of

from perceiver_runtime.backends import openvino as openvino_backend
from perceiver_runtime.backends.cores import available_cores
from perceiver_runtime.backends.device import Arithmetic
from perceiver_runtime.backends.onnxruntime import onnxruntime
from perceiver_runtime.bundle.memory_plan import ArenaPolicy
from perceiver_runtime.bundle.reader import Bundle, open_bundle
from perceiver_runtime.commands.benching.peak import matrix_peak

PRODUCTS = ("MatMul", "FusedMatMul", "Gemm", "DynamicQuantizeMatMul")


@dataclass
class Row:
    """Of all nodes of one kind."""

    calls: int = 0
    seconds: float = 0.0
    flops: int = 0


class OrtProfile:
    """A graph on ONNX Runtime with the runtime's settings, and its profiler on."""

    def __init__(self, bundle: Bundle, name: str) -> None:
        self.entry = bundle.manifest.graphs[name]
        self.name, self.provider = name, "CPUExecutionProvider"
        options = onnxruntime().SessionOptions()
        options.intra_op_num_threads = available_cores()
        options.enable_cpu_mem_arena = ArenaPolicy.of(bundle.manifest, name) is not None
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.force_spinning_stop", "1")
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(tempfile.mkdtemp()) / name)
        path = bundle.folder / self.entry.file
        self._session = onnxruntime().InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(self, inputs: Mapping[str, Any]) -> list[Any]:
        """The outputs in order."""
        return list(self._session.run(None, dict(inputs)))

    run_on_device = run

    def close(self) -> None:
        """Nothing: the session goes with the process."""

    def rows(self) -> dict[str, Row]:
        """Of the second half of all runs, the first being for warming up."""
        events = json.loads(Path(self._session.end_profiling()).read_text(encoding="utf-8"))
        starts = sorted(event["ts"] for event in events if event["name"] == "model_run")
        since = starts[len(starts) // 2]
        found: dict[str, Row] = defaultdict(Row)
        for event in events:
            if event["cat"] == "Node" and event["name"].endswith("_kernel_time") and event["ts"] >= since:
                shapes = [
                    [next(iter(shape.values())) for shape in event["args"][what] if shape]
                    for what in ("input_type_shape", "output_type_shape")
                ]
                kind, flops = counted(event["args"]["op_name"], *shapes)
                row = found[kind]
                row.calls, row.seconds, row.flops = row.calls + 1, row.seconds + event["dur"] / 1e6, row.flops + flops
        return found


def counted(operator: str, inputs: Sequence[Sequence[int]], outputs: Sequence[Sequence[int]]) -> tuple[str, int]:
    """The kind of a node, sizes and all where it is a product, and its multiplications and additions."""
    if operator in PRODUCTS:
        (*rows, inner), outer = inputs[0], outputs[0][-1]
        return f"{operator} {math.prod(rows)}×{inner}×{outer}", 2 * math.prod(rows) * inner * outer
    if operator == "MultiHeadAttention":
        (batch, queries, width), keys, values = inputs[0], inputs[1][1], inputs[2][2]
        return f"{operator} {queries}×{keys}, {width} and {values}", 2 * batch * queries * keys * (width + values)
    return operator, 0


class OpenVinoProfile(openvino_backend.OpenVinoGraph):
    """A graph on OpenVINO with its counters on."""

    def _infer(self, request: Any, inputs: Mapping[str, Any]) -> list[Any]:
        outputs = super()._infer(request, inputs)
        self.seen: list[Any] = [*getattr(self, "seen", []), request.get_profiling_info()]
        return outputs

    def rows(self) -> dict[str, Row]:
        """Of the second half of all runs, the first being for warming up."""
        found: dict[str, Row] = defaultdict(Row)
        for infos in self.seen[len(self.seen) // 2 :]:
            for info in infos:
                if info.real_time.total_seconds() > 0:
                    row = found[info.node_type]
                    row.calls, row.seconds = row.calls + 1, row.seconds + info.real_time.total_seconds()
        return found


def open_profiled(bundle: Bundle, names: Sequence[str], device: str) -> dict[str, Any]:
    """Graphs with their profilers on."""
    if device == "cpu":
        return {name: OrtProfile(bundle, name) for name in names}
    plain = openvino_backend._compile
    openvino_backend._compile = lambda core, model, options: plain(core, model, {**options, "PERF_COUNT": True})
    entries = bundle.manifest.graphs
    settings: dict[str, Any] = {"device": device, "precision": bundle.manifest.precision}
    return {name: OpenVinoProfile(bundle.graph(name), bundle.weights, entries[name], **settings) for name in names}


def main() -> None:
    """Measure, print a table for each graph."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--task", choices=list(TASKS), help="whose inputs; default: the bundle's task")
    parser.add_argument("--device", choices=["cpu", *openvino_backend._HINTS], default="cpu")
    parser.add_argument("--rows", type=int, default=12)
    parser.add_argument("--calls", type=int, default=3)
    options = parser.parse_args()
    bundle = open_bundle(options.bundle)
    run = BundleRun(bundle, device="cpu", opener=lambda bundle, names: open_profiled(bundle, names, options.device))
    names = [spec.name for spec in bundle.manifest.graphs["encode"].inputs]
    given = dict(zip(names, inputs_of(options.task or bundle.manifest.task).values()))
    for _ in range(2 * options.calls):
        run(given)
    arithmetic: Arithmetic = "bfloat16" if options.device == "openvino-bf16" else "float32"
    peak, whose = matrix_peak(run.pipeline.provider, arithmetic, bundle.manifest.precision, None)
    print(f"{options.bundle}, {bundle.manifest.precision}, {options.device}; {whose}: {peak:.0f} GFLOP/s")
    for name, graph in run.pipeline.graphs.items():
        rows = sorted(graph.rows().items(), key=lambda item: -item[1].seconds)
        for _, row in rows:
            row.calls, row.seconds, row.flops = (
                row.calls // options.calls,
                row.seconds / options.calls,
                row.flops // options.calls,
            )
        total = sum(row.seconds for _, row in rows)
        flops = sum(row.flops for _, row in rows)
        print(
            f"\n{name}: {total:.3f} s"
            + (f", {flops / 1e9:.0f} GFLOP, {flops / total / 1e9 / peak:.0%} of the peak" if flops else "")
        )
        print("| operator | calls | ms | share | GFLOP/s | of the peak |\n|---|---|---|---|---|---|")
        for kind, row in rows[: options.rows]:
            speed = row.flops / row.seconds / 1e9
            of_peak = f"{speed:.0f} | {speed / peak:.0%}" if row.flops else " | "
            print(f"| {kind} | {row.calls} | {1000 * row.seconds:.1f} | {row.seconds / total:.1%} | {of_peak} |")


if __name__ == "__main__":
    main()
