"""`perceiver run | inspect | verify | pull | sign | evaluate | compare | build | bench | …`: the commands.

Results go to stdout (as one JSON object with `--json`), progress and hints to stderr. Exit codes: 0 ok, 1 bad input, 2
usage, 3 verification failed, 4 integrity refused, 5 something missing on this machine.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from perceiver_runtime import __version__
from perceiver_runtime.commands import bench, build, doctor, inspect, report, run, serve, triton, verify
from perceiver_runtime.commands.quality import compare, evaluate
from perceiver_runtime.commands.sharing import pull, sign
from perceiver_runtime.common.errors import DamagedFileWarning, InputError, PerceiverError, ProviderFallbackWarning
from perceiver_runtime.common.terminal import CommandParser, json_text, one_line, shown, write_lines
from perceiver_runtime.tasks.outputs import warnings_as_lines


def build_parser(argv: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The whole command line. What `run` takes depends on the bundle that `argv` names."""
    parser = CommandParser(
        prog="perceiver",
        description="Run Perceiver IO bundles made by perceiver-export.",
        epilog="Exit codes: 0 ok, 1 bad input, 2 usage, 3 verification failed, 4 integrity refused, 5 missing here.",
    )
    parser.add_argument("--version", action="version", version=f"perceiver-runtime {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run.add_parser(commands, argv)
    inspect.add_parser(commands)
    verify.add_parser(commands)
    pull.add_parser(commands)
    sign.add_parser(commands)
    build.add_parser(commands)
    evaluate.add_parser(commands)
    compare.add_parser(commands)
    bench.add_parser(commands)
    doctor.add_parser(commands)
    report.add_parser(commands)
    triton.add_parser(commands)
    serve.add_parser(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code; errors are one line on stderr."""
    argv = sys.argv[1:] if arguments is None else list(arguments)
    try:
        with (
            warnings_as_lines(f"perceiver {argv[0] if argv else ''}", ProviderFallbackWarning, DamagedFileWarning),
            run.with_sample(argv) as expanded,
        ):
            parsed = build_parser(expanded).parse_args(expanded)
            result: dict[str, object] = parsed.function(parsed)
    except PerceiverError as error:
        return _failed(argv, str(error), error.exit_code)
    except OSError as error:
        return _failed(argv, f"{error.filename or 'a file'}: {error.strerror or error}", 1)
    except MemoryError as error:
        return _failed(argv, f"there is not enough memory ({error or 'none said how much'}): see --max-memory", 1)
    except KeyboardInterrupt:
        return _failed(argv, "interrupted", 130)
    try:
        write_lines(json_text(result) if parsed.json else parsed.render(shown(result)), sys.stdout)
    except BrokenPipeError:  # whoever read it has read enough
        discard_output()
    except OSError as error:
        discard_output()
        return _failed(argv, f"standard output: {error.strerror or error}", 1)
    errors: Any = result.get("errors", [])  # of some inputs among several
    for each in errors:
        write_lines(one_line(f"perceiver {argv[0]}: {each['error']}"), sys.stderr)
    return InputError.exit_code if errors else 0


def discard_output() -> None:
    """Drop what could not be written to standard output: Python would try again at its exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _failed(argv: Sequence[str], message: str, code: int) -> int:
    if "--json" in argv:
        write_lines(json_text({"error": message, "exit_code": code}), sys.stdout)
    write_lines(one_line(f"perceiver {argv[0]}: {message}"), sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
