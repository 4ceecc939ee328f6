"""Verification of exported graphs against torch, run as a process of its own.

    python -m perceiver_deploy.verify REQUEST.json

The request names the checkpoint's files and the folder of graphs. The process compares on several shapes, writes the
known answer (sample.npz) and the receipt (parity.json) into that folder, and ends with exit code 3 if anything is outside
tolerance. A crash here is therefore a failed verification, not a failed exporter.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_deploy import flow
from perceiver_deploy.comparison import ROUNDING, SPREAD_SHARE, Comparison
from perceiver_io import OpticalFlow
from perceiver_io.checkpoint import CheckpointFiles, load_files
from perceiver_runtime import PerceiverError, VerificationError
from perceiver_runtime.known_answer import FILE as SAMPLE_FILE
from perceiver_runtime.manifest import GraphEntry
from perceiver_runtime.onnx_backend import OnnxGraph

RECEIPT_FILE = "parity.json"
DEVICE_FACTOR = 10.0  # how much further off than here another device's arithmetic may be


def verify_flow(model: OpticalFlow, encode: OnnxGraph, decode: OnnxGraph) -> dict[str, Any]:
    """Compare graphs with the model on every case; the receipt as JSON values. Raises `VerificationError`.

    Every case has a negative control: the graphs' own answer, given to the wrong pixels, must be refused. A field that hardly
    varies would pass whatever the graphs compute.
    """
    rows = []
    for frames in flow.cases(model.config):
        reference = flow.reference_flow(model, frames)
        found = _graph_flow(model, encode, decode, frames)
        comparison = Comparison.of(reference, found)
        shape = "x".join(map(str, frames.shape))
        if not comparison.passes:
            raise VerificationError(
                f"the graphs differ from torch on frames {shape}: largest error {comparison.max_error_px:.3g} px, "
                f"{comparison.allowed_px:.3g} px allowed, {comparison.not_finite} values not finite"
            )
        control = Comparison.of(reference, found[:, ::-1])
        if control.passes:
            raise VerificationError(
                f"on frames {shape} the flow is the same everywhere within {control.allowed_px:.3g} px, so this comparison "
                "proves nothing: is the checkpoint trained?"
            )
        rows.append({"frames": shape, **dataclasses.asdict(comparison), "negative_control_px": control.max_error_px})
        print(f"frames {shape}: off by {comparison.max_error_px:.2g} px, {comparison.allowed_px:.2g} px allowed", flush=True)
    if not rows:
        raise VerificationError("nothing was compared")
    worst = max(rows, key=lambda row: row["max_error_px"] / row["allowed_px"])
    return {
        "tolerance": f"largest error <= {SPREAD_SHARE:g} x spread + {ROUNDING:g} x largest value",
        "summary": {
            "cases": len(rows),
            "max_error_px": worst["max_error_px"],
            "allowed_px": worst["allowed_px"],
            "mean_endpoint_error_px": max(row["mean_error_px"] for row in rows),
        },
        "cases": rows,
    }


def _graph_flow(model: OpticalFlow, encode: OnnxGraph, decode: OnnxGraph, frames: NDArray[Any]) -> NDArray[np.float32]:
    latents, query_features = encode.run({"frames": np.ascontiguousarray(frames)})
    positions = flow.query_positions(frames)
    pieces = range(0, positions.shape[1], flow.QUERY_CHUNK)
    flows = [
        decode.run(
            {
                "latents": latents,
                "query_features": np.ascontiguousarray(query_features[:, start : start + flow.QUERY_CHUNK]),
                "query_positions": np.ascontiguousarray(positions[:, start : start + flow.QUERY_CHUNK]),
            }
        )[0]
        for start in pieces
    ]
    return np.concatenate(flows, axis=1) * np.float32(model.config.flow_scale)


def run(request_file: Path) -> None:
    """Do what a request asks for."""
    request = json.loads(request_file.read_text(encoding="utf-8"))
    folder = Path(request["folder"])
    model = load_files(CheckpointFiles(Path(request["config"]), Path(request["weights"]), request["task"]))
    unchecked = GraphEntry("", (), ())
    encode, decode = (OnnxGraph(folder / f"{name}.onnx", unchecked, device="cpu") for name in ("encode", "decode"))
    receipt = verify_flow(model, encode, decode)
    sample = flow.known_answer(model)
    sample.write(folder / SAMPLE_FILE)
    allowed = Comparison.of(sample.flow[None], sample.flow[None]).allowed_px
    receipt["known_answer_tolerance_px"] = DEVICE_FACTOR * allowed
    (folder / RECEIPT_FILE).write_text(json.dumps(receipt, indent=2), encoding="utf-8")


if __name__ == "__main__":
    try:
        run(Path(sys.argv[1]))
    except PerceiverError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
