"""`perceiver verify BUNDLE`: does the bundle give its known answer on this machine? No torch needed."""

from __future__ import annotations

import argparse
from typing import Any

from perceiver_runtime.bundle.reader import open_bundle
from perceiver_runtime.commands.arguments import add_bundle, add_device, add_trust, runtime_options, trust_of
from perceiver_runtime.commands.isolated import add_limits, verify_isolated
from perceiver_runtime.tasks.known_answer import FILE, Sample, check_known_answer, tolerances
from perceiver_runtime.tasks.loading import check_task, open_pipeline


def add_parser(commands: Any) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser("verify", help="check a bundle's known answer on this machine")
    add_bundle(parser)
    add_device(parser)
    add_trust(parser)
    add_limits(parser)
    parser.set_defaults(function=verify_bundle, render=render)


def verify_bundle(arguments: argparse.Namespace) -> dict[str, object]:
    """Run the known answer. Raises `VerificationError`."""
    if arguments.isolated:
        return verify_isolated(arguments)
    bundle = open_bundle(arguments.bundle, trust=trust_of(arguments))
    check_task(bundle, None)
    allowed, sample = tolerances(bundle.manifest), Sample.read(bundle.read(FILE))
    with open_pipeline(bundle, runtime_options(arguments)) as pipeline:
        return {"bundle": str(bundle.folder), **check_known_answer(pipeline, sample, allowed)}


def render(result: dict[str, Any]) -> str:
    """The same for people."""
    lines = [f"{result['bundle']}: every file as listed; known answer right on {result['provider']}"]
    for name, metrics in result["outputs"].items():
        lines.append(
            f"  {name}: {metrics['values']} values, largest error {metrics['max_error']:.2g}, allowed "
            f"{metrics['tolerance']:.2g}, the answer itself spreads over {metrics['spread']:.2g}"
        )
    return "\n".join(lines)
