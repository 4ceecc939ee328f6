"""`perceiver run BUNDLE …`: run a bundle on files or text. What follows the bundle depends on its task."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from perceiver_runtime.bundle.manifest import MAX_MANIFEST_BYTES, Manifest
from perceiver_runtime.commands import run_features, run_flow, run_image, run_multimodal, run_text
from perceiver_runtime.commands.arguments import add_bundle, add_device, load_for
from perceiver_runtime.commands.sample_inputs import sample_inputs
from perceiver_runtime.common.errors import PerceiverError


class Runner(NamedTuple):
    """How a task is run: its arguments on a parser, given its bundle's manifest; what it does; the result for people."""

    add_arguments: Callable[[argparse.ArgumentParser, Manifest], None]
    run: Callable[[argparse.Namespace], dict[str, object]]
    render: Callable[[dict[str, Any]], str]


RUNNERS = {
    "flow": Runner(run_flow.add_arguments, run_flow.run, run_flow.render),
    "fill-mask": Runner(run_text.add_mask_arguments, run_text.fill_mask, run_text.render_spans),
    "text-classification": Runner(run_text.add_pair_arguments, run_text.classify, run_text.render_labels),
    "image-classification": Runner(run_image.add_arguments, run_image.run, run_text.render_labels),
    "multimodal": Runner(run_multimodal.add_arguments, run_multimodal.run, run_multimodal.render),
    "features": Runner(run_features.add_arguments, run_features.run, run_features.render),
}
SAMPLE = "--sample"
_USAGE = """what follows BUNDLE depends on its task:
  flow                  FRAME1 FRAME2 [-o FLOW.png] [--flo FILE] [--at X,Y …]
  fill-mask             TEXT … (with [MASK], or [MASK*9] for nine bytes) [--beams 8]
  text-classification   TEXT … [--pair TEXT]
  image-classification  IMAGE …
  multimodal            CLIP [--audio WAV] [-o CLIP.gif] [--audio-output WAV] [--frames 3,7]
  features              INPUT … [-o LATENTS.npy]
`perceiver run BUNDLE --help` says more, `perceiver run BUNDLE --sample` runs the input that comes with the bundle."""


def add_parser(commands: Any, argv: Sequence[str]) -> None:
    """Declare the subcommand, with the arguments of the task of the bundle that `argv` names."""
    found = _bundle(argv)
    manifest = found.manifest if found else None
    parser = commands.add_parser(
        "run",
        help="run a bundle on files or text",
        description=f"Run a {manifest.task} bundle." if manifest else "Run a bundle.",
        epilog=None if manifest else _USAGE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_bundle(parser)
    add_device(parser)
    if manifest:
        runner = RUNNERS[manifest.task]
        parser.add_argument(SAMPLE, action="store_true", help="run the input that comes with the bundle, instead of others")
        runner.add_arguments(parser, manifest)
        parser.set_defaults(function=runner.run, render=runner.render)
    else:
        parser.add_argument("inputs", nargs=argparse.REMAINDER, help="as the bundle's task takes them")
        parser.set_defaults(function=_without_bundle, render=str)


@contextlib.contextmanager
def with_sample(argv: Sequence[str]) -> Iterator[list[str]]:
    """`argv`, and for `perceiver run BUNDLE --sample` with the bundle's own input at the end, until the end."""
    found = _bundle(argv)
    if found is None or SAMPLE not in argv or argv[0] != "run":
        yield list(argv)
        return
    with sample_inputs(argv[found.place]) as inputs:
        yield [*argv, *inputs]


class _Bundle(NamedTuple):
    place: int  # in the arguments
    manifest: Manifest


def _bundle(argv: Sequence[str]) -> _Bundle | None:
    """The first bundle in the arguments, if it can be run: to know what may follow. It is checked later."""
    for place, argument in list(enumerate(argv))[1:]:
        path = Path(argument) / "manifest.json"
        try:
            if not path.is_file():  # to open a named pipe would wait
                continue
            with path.open("rb") as file:
                manifest = Manifest.from_json(file.read(MAX_MANIFEST_BYTES + 1))
        except (OSError, ValueError, PerceiverError):
            continue
        return _Bundle(place, manifest) if manifest.task in RUNNERS else None
    return None


def _without_bundle(arguments: argparse.Namespace) -> dict[str, object]:
    """There is none that can be run: loading it says why."""
    load_for(arguments).close()
    return {}
