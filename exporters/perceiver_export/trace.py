"""From a PyTorch wrapper to an ONNX graph whose attentions are single `perceiver::Attention` nodes."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator

import onnx_ir as ir
import torch

from perceiver_export.foreign_attention import ForeignAttention
from perceiver_export.graph_spec import GraphSpec
from perceiver_export.small_constants import small_constants_kept

OPSET = 18


class UntraceableError(ValueError):
    """A module that cannot become a graph; the message says why."""


def trace(spec: GraphSpec) -> ir.Model:
    """Trace one graph with `torch.onnx.export(dynamo=True)`: inputs, outputs and dynamic sizes named as `spec` says.

    Raises `UntraceableError`.
    """
    with torch.no_grad(), _quiet(), ForeignAttention() if spec.foreign else contextlib.nullcontext():
        try:
            program = torch.onnx.export(
                spec.module.eval(),
                kwargs=spec.example,
                dynamic_shapes=spec.dynamic,
                dynamo=True,
                opset_version=OPSET,
                input_names=list(spec.example),
                output_names=list(spec.outputs),
                optimize=False,
                verbose=False,
            )
            assert program is not None  # with dynamo=True there always is one
            with small_constants_kept(program.model.graph):
                program.optimize()
        except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
            raise UntraceableError(f"{spec.name} cannot be traced: {_reason(error)}") from error
    model: ir.Model = program.model
    model.graph.name = spec.name
    model.metadata_props.clear()
    for output, shape in zip(model.graph.outputs, spec.outputs.values()):
        output.shape = ir.Shape(shape)
    return model


def _reason(error: BaseException) -> str:
    """What torch says, in one line: of the first error, where one led to another."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip(" -") for line in str(error).splitlines() if line.strip(" -")]
    return " ".join(lines[:3])[:300] or type(error).__name__


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on torchvision and on its own deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
