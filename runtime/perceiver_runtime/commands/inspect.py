"""`perceiver inspect BUNDLE`: what a bundle is, after checking that it is whole. Needs numpy alone."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from perceiver_runtime.bundle.choices import Choices, Work
from perceiver_runtime.bundle.origin.signature import FILE as SIGNATURE
from perceiver_runtime.bundle.reader import open_bundle
from perceiver_runtime.commands.arguments import add_bundle
from perceiver_runtime.common.records import record


def add_parser(commands: Any) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser("inspect", help="show what a bundle holds, and that it is whole")
    add_bundle(parser)
    parser.add_argument("--precision", action="store_true", help="list the nodes that stay float32 in lower precision, and why")
    parser.add_argument("--passes", action="store_true", help="list what each exact rewrite did, and what it left")
    parser.set_defaults(function=inspect_bundle, render=render)


def inspect_bundle(arguments: argparse.Namespace) -> dict[str, object]:
    """The manifest as a dictionary, with its own sha256, and what is in the folder but not listed (the first hundred names)."""
    bundle = open_bundle(arguments.bundle)
    if arguments.precision:
        return {
            "bundle": str(bundle.folder),
            "precision": bundle.manifest.precision,
            "islands": Choices.of(bundle.manifest).islands,
        }
    if arguments.passes:
        choices = Choices.of(bundle.manifest)
        done = {name: getattr(choices, name) for name in ("passes", "conditions", "unrecognised")}
        return {"bundle": str(bundle.folder), **done}
    found: dict[str, object] = {"bundle": str(bundle.folder), "manifest_sha256": bundle.manifest_sha256}
    found |= {"unlisted": list(bundle.unlisted), "signed": (bundle.folder / SIGNATURE).exists()}
    return found | dataclasses.asdict(bundle.manifest)


def render(result: dict[str, Any]) -> str:
    """The same for people."""
    if "islands" in result:
        return _render_islands(result)
    if "conditions" in result:
        return _render_passes(result)
    source, parity = result["source"], result["parity"]
    lines = [
        f"{result['bundle']}: {result['task']}, {result['precision']}, for {result['target']}",
        f"schema {result['schema_version']}, manifest sha256 {result['manifest_sha256']}",
        f"source {source['checkpoint']} {source['revision']}".rstrip() + f", licence {source['license']}",
        f"source weights sha256 {source['sha256']}",
        "files",
        *(f"  {entry['path']:24} {entry['size'] / 1e6:10.3f} MB" for entry in result["files"]),
        *(f"  '{name}' is not listed, and ignored" for name in result["unlisted"]),
        *([f"  {SIGNATURE}, which perceiver verify --public-key checks"] if result["signed"] else []),
        "graphs",
    ]
    for name, graph in result["graphs"].items():
        lines.append(f"  {name}: {_tensors(graph['inputs'])} -> {_tensors(graph['outputs'])}")
    lines.append("ranges " + ", ".join(f"{name} {span['min']} to {span['max']}" for name, span in result["ranges"].items()))
    lines.append("processor " + ", ".join(f"{key} {value}" for key, value in result["processor"].items()))
    choices = record(Choices, result["choices"], "choices", ignored=None)
    if choices.passes:
        done = [f"{graph} {name} {count}" for graph, names in choices.passes.items() for name, count in names.items() if count]
        lines.append("passes " + (", ".join(done) or "none"))
    lines += _cost(choices.cost)
    if choices.memory:
        peak, weights = choices.memory.peak(1), choices.memory.weights
        lines.append(f"memory on a CPU {peak / 1e6:.0f} MB for one input, {weights / 1e6:.0f} MB of it weights")
    lines += _attention(choices, sum(entry["size"] for entry in result["files"]))
    lines.append(f"checked against torch: {_summary(parity.get('summary'))}")
    return "\n".join(lines)


def _cost(work: Work | None) -> list[str]:
    """Operations and bytes moved at the sizes planned for, before passes and after."""
    if work is None:
        return []
    lines = ["work for " + ", ".join(f"{name} {size}" for name, size in work.sizes.items())]
    for name, costs in work.graphs.items():
        flops, moved = (
            [getattr(each, what) / 1e9 for each in (costs.before, costs.after)] for what in ("flops", "moved_bytes")
        )
        lines.append(f"  {name}: {flops[0]:.4g} -> {flops[1]:.4g} GFLOP, {moved[0]:.3g} -> {moved[1]:.3g} GB moved by passes")
    return lines


def _attention(choices: Choices, files: int) -> list[str]:
    """What was planned for attentions on TensorRT, and the memory to expect from that at the largest sizes."""
    if choices.memory_budget is None:
        return []
    plans = [plan for graph in choices.attention.values() for plan in graph]
    fused = sum(plan.fuses for plan in plans)
    scores = max((plan.score_bytes for plan in plans if not plan.fuses), default=0)
    return [
        f"attention {fused} of {len(plans)} should be one kernel; largest stored score matrix {scores / 1e6:.0f} MB, "
        f"budget {choices.memory_budget / 1e6:.0f}",
        f"memory on a GPU about {(files + 2 * scores) / 1e6:.0f} MB: weights, the largest scores before and after softmax",
    ]


def _render_islands(result: dict[str, Any]) -> str:
    if not result["islands"]:
        return f"{result['bundle']}: everything is {result['precision']}"
    lines = [f"{result['bundle']}: {result['precision']}, and float32 in"]
    for graph, islands in result["islands"].items():
        for reason, nodes in islands.items():
            lines.append(f"  {graph}: {len(nodes)} nodes, {reason}")
            lines += [f"    {node}" for node in nodes]
    return "\n".join(lines)


def _render_passes(result: dict[str, Any]) -> str:
    lines = [f"{result['bundle']}: exact rewrites"]
    for graph, passes in result["passes"].items():
        lines.append(f"  {graph}")
        for name, count in passes.items():
            condition = result["conditions"].get(name, "")
            applied = f"applied {count}x" if count else f"found nothing to apply to{': ' * bool(condition)}{condition}"
            lines.append(f"    {name}: {applied}")
        for place, reason in result["unrecognised"].get(graph, {}).items():
            lines.append(f"    {place} is no attention that is known: {reason}")
    return "\n".join(lines)


def _summary(summary: Any) -> str:
    """What `perceiver-export` wrote of its comparison; the manifest's parity is free-form."""
    if not isinstance(summary, dict):
        return "no"
    parts = [f"{key} {value}" for key, value in summary.items() if not isinstance(value, dict)]
    for group in (value for value in summary.values() if isinstance(value, dict)):
        parts += [f"{key} {value if not isinstance(value, dict) else _summary(value)}" for key, value in group.items()]
    return ", ".join(parts)


def _tensors(specs: list[dict[str, Any]]) -> str:
    return ", ".join(f"{spec['name']} ({', '.join(map(str, spec['shape']))})" for spec in specs)
