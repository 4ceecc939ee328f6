"""What a bundle's graphs need of memory, as the runtime plans with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx_ir as ir

from perceiver_export.analysis.cost import graph_cost


def memory_plan(graphs: Mapping[str, ir.Model], sizes: Mapping[str, int]) -> dict[str, Any]:
    """What `perceiver_runtime.bundle.memory_plan.MemoryPlan` reads: bytes that each graph
    needs, by `sizes` for the dynamic sizes.

    A decoder's are a number and one for each query, from two numbers of queries. Raises `UnknownCost`.
    """
    encode = graph_cost(graphs["encode"], sizes)
    plan: dict[str, Any] = {
        "weights": encode.weight_bytes,
        "encode": encode.peak_bytes,
        "kept": encode.output_bytes,
        "decoders": {},
    }
    for name, graph in graphs.items():
        if name in ("encode", "model"):
            continue
        cost = graph_cost(graph, sizes)
        plan["weights"] += cost.weight_bytes
        shapes = [value.shape for value in graph.graph.inputs if value.shape is not None]
        queries = next((str(size) for shape in shapes for size in shape if str(size) in ("O", "P")), None)
        each = 0
        if queries is not None and sizes[queries] > 1:
            half = sizes[queries] // 2
            each = (cost.peak_bytes - graph_cost(graph, {**sizes, queries: half}).peak_bytes) // (sizes[queries] - half)
        plan["decoders"][name] = [cost.peak_bytes - each * (sizes[queries] if queries else 0), each]
    return plan
