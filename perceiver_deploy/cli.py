"""`perceiver-export`: a checkpoint to a verified bundle."""

from __future__ import annotations

import argparse
import dataclasses
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from perceiver_deploy import __version__
from perceiver_deploy.export import export_bundle, locate
from perceiver_deploy.options import PRECISIONS, combinations
from perceiver_deploy.own import command
from perceiver_deploy.own.head import ARRAYS
from perceiver_deploy.own.task_rows import ROWS
from perceiver_deploy.pushing import check_push, push_bundle
from perceiver_deploy.staging import check_destination
from perceiver_deploy.tasks.registry import EXPORT_TASKS, about, other_names, published_for, task_name
from perceiver_export import MissingPlanWarning
from perceiver_export.passes.table import ALL_PASSES
from perceiver_export.targets import TARGETS
from perceiver_io.errors import TaskError
from perceiver_runtime import PerceiverError, UsageError
from perceiver_runtime.backends.tensorrt.backend import Engines, unavailable_reason
from perceiver_runtime.backends.tensorrt.builder import BuildOptions, spans
from perceiver_runtime.bundle.manifest import Manifest
from perceiver_runtime.bundle.reader import open_bundle
from perceiver_runtime.commands.main import discard_output
from perceiver_runtime.common.terminal import CommandParser, is_terminal, json_text, one_line, printable, write_lines
from perceiver_runtime.tasks.arguments import image_size, memory
from perceiver_runtime.tasks.outputs import warnings_as_lines


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = CommandParser(
        prog="perceiver-export",
        description="Turn a Perceiver IO checkpoint into a bundle of ONNX graphs, verified against PyTorch.",
        epilog=f"{combinations()}\n\nexit codes: 0 ok, 1 bad input, 2 usage, 3 verification failed, 5 not available here",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--task", metavar="TASK", help=f"one of: {', '.join(EXPORT_TASKS)} (default: the checkpoint's own)")
    parser.add_argument("--list-tasks", action="store_true", help="say what each task does and which checkpoints it takes")
    parser.add_argument(
        "--checkpoint",
        metavar="PATH|HUB-ID|NAME",
        help="a folder written by save_pretrained or save_checkpoint, a hub id such as deepmind/optical-flow-perceiver, "
        "or a shipped checkpoint; default: the small one shipped for the task",
    )
    parser.add_argument("-o", "--output", metavar="DIR", help="the bundle to write (default: the task's name)")
    parser.add_argument("--fused", action="store_true", help="also write one graph of the whole model, model.onnx")
    parser.add_argument(
        "--image-size",
        type=image_size,
        metavar="N|HxW",
        help="what images are resized to (default: the checkpoint's size); learned positions are interpolated for it",
    )
    parser.add_argument("--target", default="ort", choices=[*TARGETS], help="what runs the graphs (default: ort)")
    budgets = ", ".join(f"{target.memory_budget >> 20}MiB for {target.runs_on}" for target in TARGETS.values())
    parser.add_argument(
        "--memory-budget",
        type=memory,
        metavar="MEMORY",
        help=f"the largest score matrix of an attention that is not one kernel, such as 100MB (default: {budgets})",
    )
    help_text = f"exact rewrites of the graphs, by name, or none (default: all: {', '.join(ALL_PASSES)})"
    parser.add_argument(
        "--passes", nargs="+", choices=[*ALL_PASSES, "none"], default=ALL_PASSES, metavar="PASS", help=help_text
    )
    group = parser.add_mutually_exclusive_group()
    for precision, help_text in PRECISIONS.items():
        group.add_argument(
            f"--{precision}", dest="precision", action="store_const", const=precision, default="fp32", help=help_text
        )
    parser.add_argument("--revision", help="branch, tag or commit of a hub checkpoint")
    parser.add_argument("--allow-pickle", action="store_true", help="also read pytorch_model.bin, if you trust it")
    help_text = "tensors to leave out, by name or pattern, such as 'loss.*'"
    parser.add_argument("--ignore-tensors", nargs="+", default=[], metavar="NAME", help=help_text)
    parser.add_argument("--samples", metavar="FOLDER", help="your own inputs, to verify the graphs on as well")
    help_text = "your own inputs, for the ranges of activations in int8 and fp8"
    parser.add_argument("--calibration", metavar="FOLDER", help=help_text)
    help_text = "what int8 and fp8 may lose: pixels of end-point error (0.05), or the share of answers that differ"
    parser.add_argument("--int8-limit", type=float, metavar="LOSS", help=help_text)
    help_text = "accept a checkpoint that amplifies rounding beyond the usual cap; the parity report says by how much"
    parser.add_argument("--allow-rounding", action="store_true", help=help_text)
    help_text = "for TensorRT: also build the engines, which takes minutes, where TensorRT and a GPU are"
    parser.add_argument("--build", action="store_true", help=help_text)
    command.add_arguments(parser)
    help_text = "push the bundle to this repository of the Hugging Face hub, in one commit; made if it is not there"
    parser.add_argument("--push", metavar="USER/BUNDLE", help=help_text)
    parser.add_argument("--private", action="store_true", help="with --push: a repository that is made is private")
    parser.add_argument("--force", action="store_true", help="replace a bundle that is already there")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.add_argument("--version", action="version", version=f"perceiver-deploy {__version__}")
    return parser


def list_tasks() -> list[dict[str, object]]:
    """Each task: what it does, its aliases, its checkpoints; those for models of one's own have none."""
    own = [row.task for row in ROWS if row.task not in EXPORT_TASKS]
    return [
        {
            "task": task,
            "does": about(task),
            "aliases": list(other_names(task)),
            "shipped": EXPORT_TASKS[task].shipped if task in EXPORT_TASKS else None,
            "published": published_for(task) if task in EXPORT_TASKS else [],
        }
        for task in [*EXPORT_TASKS, *own, ARRAYS]
    ]


def _tasks_text(tasks: list[dict[str, object]]) -> str:
    lines = []
    for task in tasks:
        lines.append(f"{task['task']}: {task['does']}")
        for key in ("aliases", "shipped", "published"):
            value = task[key]
            if value:
                lines.append(f"    {key}: {', '.join(value) if isinstance(value, list) else value}")
        if task["task"] not in EXPORT_TASKS:
            lines.append("    of a model of your own: --model, docs/new-tasks.md")
    return "\n".join(lines)


def run(arguments: argparse.Namespace) -> Manifest:
    """Do what the command line asks for. Raises `PerceiverError`."""
    files = None
    if arguments.checkpoint:
        files = locate(
            arguments.checkpoint,
            allow_pickle=arguments.allow_pickle,
            revision=arguments.revision,
            ignore_tensors=tuple(arguments.ignore_tensors),
        )
    for note in files.notes if files else ():
        _say(note)
    composed = files is not None and EXPORT_TASKS.get(files.task) is None
    if not arguments.task and files:
        arguments.task = files.task
        _say(f"the task is {files.task}, the checkpoint's own")
    arguments.output = Path(arguments.output or arguments.task or arguments.model.rpartition(":")[2])
    options = {
        "fused": arguments.fused,
        "precision": arguments.precision,
        "target": arguments.target,
        "memory_budget": arguments.memory_budget,
        "passes": _passes(arguments.passes),
        "samples": arguments.samples,
        "allow_rounding": arguments.allow_rounding,
        "calibration": arguments.calibration,
        "int8_limit": arguments.int8_limit,
        "force": arguments.force,
        "progress": _progress(),
        "note": lambda text: _say(f"note: {text}"),
    }
    if arguments.model or composed:
        return command.run(arguments, options, files, _say)
    shipped = EXPORT_TASKS[arguments.task].shipped
    if not arguments.checkpoint and shipped:
        published = published_for(arguments.task)
        other = f"the published one: --checkpoint {published[0]}" if published else "your own: --checkpoint FOLDER"
        _say(f"using the small checkpoint shipped for {arguments.task}, {shipped}; for {other}")
    return export_bundle(
        task=arguments.task, output=arguments.output, checkpoint=files, image_size=arguments.image_size, **options
    )


def _passes(names: Sequence[str]) -> tuple[str, ...]:
    if "none" in names and len(set(names)) > 1:
        raise UsageError(f"--passes {' '.join(names)}: give none alone, or the names of some")
    return tuple(name for name in ALL_PASSES if name in names)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code; errors are one line on stderr."""
    try:
        with warnings_as_lines("perceiver-export", MissingPlanWarning):
            return _main(argv)
    except BrokenPipeError:  # whoever read it has read enough
        discard_output()
    except OSError as error:  # those of files end in _main
        discard_output()
        _say(f"perceiver-export: standard output: {error.strerror or error}")
        return 1
    return 0


def _list(arguments: argparse.Namespace) -> int:
    try:
        tasks = list_tasks()
    except TaskError as error:
        return _failed(arguments, str(error), UsageError.exit_code)
    write_lines(json_text(tasks) if arguments.json else _tasks_text(tasks), sys.stdout)
    return 0


def _main(argv: Sequence[str] | None) -> int:
    arguments = build_parser().parse_args(argv)
    if arguments.list_tasks:
        return _list(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        command.check(arguments)
        if not arguments.task and not arguments.checkpoint and not arguments.model:
            raise UsageError(f"which task? --task with one of: {', '.join(EXPORT_TASKS)}; --list-tasks says what they do")
        arguments.task = arguments.task and task_name(arguments.task)
        if arguments.output or arguments.task:  # before anything is downloaded
            check_destination(Path(arguments.output or arguments.task), force=arguments.force)
        if arguments.private and not arguments.push:
            raise UsageError("--private is for --push: give both, or neither")
        if arguments.push:
            check_push(arguments.push)
        manifest = run(arguments)
    except PerceiverError as error:
        return _failed(arguments, str(error), error.exit_code)
    except TaskError as error:
        return _failed(arguments, str(error), UsageError.exit_code)
    except OSError as error:
        return _failed(arguments, f"{error.filename or 'a file'}: {error.strerror or error}", 1)
    except MemoryError:
        return _failed(arguments, f"there is not enough memory; nothing was written to {arguments.output}", 1)
    except KeyboardInterrupt:
        return _failed(arguments, f"interrupted; nothing was written to {arguments.output}", 130)
    pushed = None
    if arguments.push:
        try:
            pushed = push_bundle(arguments.output, arguments.push, private=arguments.private or None)
        except PerceiverError as error:
            return _failed(arguments, f"{arguments.output} was written, and not pushed: {error}", error.exit_code)
    if arguments.json:
        told = {"bundle": str(arguments.output), "pushed": pushed, **dataclasses.asdict(manifest)}
        write_lines(json_text(told), sys.stdout)
        return 0
    summary, record = manifest.parity["summary"], EXPORT_TASKS.get(manifest.task)
    unit, usage = (record.recipe.unit, record.recipe.usage) if record else ("", "--sample")
    size = sum(entry.size for entry in manifest.files) / 1e6
    errors = [
        f"{printable(name)} off by {own['max_error']:.2g}{unit} at most, {own['allowed']:.2g}{unit} allowed"
        for name, own in summary["outputs"].items()
    ]
    closeness = "equal to torch" if manifest.precision == "fp32" else "near to torch in fp32"
    output = printable(str(arguments.output))
    written = f"wrote {output} ({size:.1f} MB, {manifest.precision}, for {TARGETS[manifest.target].runs_on}), {closeness} on "
    write_lines(f"{written}{summary['cases']} shapes: {'; '.join(errors)}", sys.stdout)
    for name, note in summary.get("constant", {}).items():
        _say(f"note: {printable(name)}: {note}")
    if TARGETS[manifest.target].profiles:
        write_lines(one_line(build_engines(arguments.output, build=arguments.build)), sys.stdout)
    if pushed:
        write_lines(one_line(f"pushed to {arguments.push}: {pushed}"), sys.stdout)
    write_lines(f"next: perceiver run {output} {usage}", sys.stdout)
    return 0


def build_engines(bundle: Path, *, build: bool) -> str:
    """Build a bundle's engines if asked, where there are TensorRT and a GPU; what was done, or what to do on the device."""
    if not build or unavailable_reason():
        return f"its engines are built where they run, on the device: perceiver build {bundle}"
    try:
        engines = Engines(open_bundle(bundle))
        for name in engines.bundle.manifest.graphs:
            profiles = spans(engines.bundle.manifest.ranges)
            engines.build(engines.wanted(name, profiles, BuildOptions()), lambda phase: None)
    except PerceiverError as error:
        return f"its engines could not be built here: {error}"
    return f"its engines for {engines.machine.gpu or 'this GPU'} are in {engines.cache.folder}"


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _failed(arguments: argparse.Namespace, message: str, code: int) -> int:
    if arguments.json:
        write_lines(json_text({"error": message, "exit_code": code}), sys.stdout)
    _say(f"perceiver-export: {message}")
    return code


def _say(text: str) -> None:
    write_lines(one_line(text), sys.stderr)


def _progress() -> Callable[[str], None]:
    start = time.monotonic()

    def report(text: str) -> None:
        if is_terminal(sys.stderr):
            _say(f"[{time.monotonic() - start:5.1f} s] {text}")

    return report


if __name__ == "__main__":
    sys.exit(main())
