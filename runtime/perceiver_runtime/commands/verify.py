"""`perceiver verify BUNDLE`: does the bundle give its known answer on this machine? No torch needed."""

from __future__ import annotations

import argparse
from typing import Any

from perceiver_runtime.bundle import open_bundle
from perceiver_runtime.commands.arguments import add_bundle, add_device
from perceiver_runtime.errors import IntegrityError
from perceiver_runtime.flow import FlowPipeline
from perceiver_runtime.known_answer import FILE, FlowSample, check_known_answer
from perceiver_runtime.loading import check_task


def add_parser(commands: Any) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser("verify", help="check a bundle's known answer on this machine")
    add_bundle(parser)
    add_device(parser)
    parser.set_defaults(function=verify_bundle, render=render)


def verify_bundle(arguments: argparse.Namespace) -> dict[str, object]:
    """Run the known answer. Raises `VerificationError`."""
    bundle = open_bundle(arguments.bundle)
    check_task(bundle, None)
    tolerance = bundle.manifest.parity.get("known_answer_tolerance_px")
    if not isinstance(tolerance, float) or not tolerance > 0:
        raise IntegrityError("the manifest gives no tolerance for the known answer: export the bundle again")
    sample = FlowSample.read(bundle.path(FILE))
    with FlowPipeline(bundle, device=arguments.device, threads=arguments.threads) as pipeline:
        return {"bundle": str(bundle.folder), **check_known_answer(pipeline, sample, tolerance)}


def render(result: dict[str, Any]) -> str:
    """The same for people."""
    return (
        f"{result['bundle']}: every file as listed; known answer at {result['points']} points right on {result['provider']}: "
        f"largest error {result['max_error_px']:.2g} px, allowed {result['tolerance_px']:.2g} px, "
        f"the answer itself spreads over {result['spread_px']:.2g} px"
    )
