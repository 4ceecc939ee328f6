"""`perceiver serve BUNDLE …`: bundles on this machine over HTTP, for programs that have no Triton."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from perceiver_runtime.commands.arguments import add_device, runtime_options
from perceiver_runtime.common.terminal import one_line, write_lines
from perceiver_runtime.serving.http.server import ServeOptions, is_local, library, listen, loaded, named_bundles
from perceiver_runtime.serving.http.server import run as serve
from perceiver_runtime.tasks.arguments import memory, positive


def add_parser(commands: Any) -> None:
    """Declare the subcommand."""
    usual = ServeOptions()
    parser = commands.add_parser(
        "serve",
        help="answer over HTTP, on one machine",
        description="Check bundles and serve them in one process by the Open Inference Protocol over HTTP, and texts, pictures "
        "and sounds as they are: POST /v2/models/NAME/answer. For one machine; for more there is perceiver triton. It ends "
        "with SIGTERM or Ctrl-C, after what runs. docs/serve.md",
    )
    parser.add_argument("bundles", nargs="+", metavar="BUNDLE", help="a bundle's folder, or NAME=FOLDER")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object, at the end")
    help_text = f"the address to listen on (default: {usual.host}, which only this machine reaches)"
    parser.add_argument("--host", default=usual.host, help=help_text)
    help_text = f"0: any that is free (default: {usual.port})"
    parser.add_argument("--port", type=_port, default=usual.port, metavar="N", help=help_text)
    help_text = f"requests that are answered at once (default: {usual.concurrency})"
    parser.add_argument("--concurrency", type=positive, default=usual.concurrency, metavar="N", help=help_text)
    help_text = f"requests that may wait; more get 503 (default: {usual.queue})"
    parser.add_argument("--queue", type=_count, default=usual.queue, metavar="N", help=help_text)
    help_text = f"for a request, waiting among it; later ones get 504 (default: {usual.timeout:g})"
    parser.add_argument("--timeout", type=_seconds, default=usual.timeout, metavar="SECONDS", help=help_text)
    help_text = f"of a request's body; more gets 413 (default: {usual.max_body // 1_000_000}MB)"
    parser.add_argument("--max-body", type=memory, default=usual.max_body, metavar="MEMORY", help=help_text)
    add_device(parser)
    parser.set_defaults(function=run, render=render)


def _port(text: str) -> int:
    value = int(text)  # argparse reports a ValueError
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError("give 0 to 65535")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("give at least 0")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= 86400:
        raise argparse.ArgumentTypeError("give seconds, more than 0 and a day at most")
    return value


def run(arguments: argparse.Namespace) -> dict[str, object]:
    """Serve until it is told to stop."""
    library()  # before bundles are loaded
    names = ("host", "port", "concurrency", "queue", "timeout", "max_body")
    options = ServeOptions(**{name: getattr(arguments, name) for name in names})
    folders = named_bundles(arguments.bundles)
    with listen(options) as bound:
        host, port = bound.getsockname()[:2]
        if not is_local(host):
            _say(f"warning: other machines reach {host}, without a password and without encryption: put a proxy before it")
        with loaded(folders, runtime_options(arguments)) as bundles:
            for each in bundles:
                _say(f"{each.name}: {each.task}, bundle {each.bundle[:12]}…, on {each.provider}; its known answer is right")
            shown = f"[{host}]" if ":" in host else host
            answered = serve(bundles, options, bound, lambda: _say(f"ready on http://{shown}:{port}"))
            return {"bundles": {each.name: each.bundle for each in bundles}, "answered": answered}


def _say(text: str) -> None:
    write_lines(one_line(f"perceiver serve: {text}"), sys.stderr)


def render(result: dict[str, Any]) -> str:
    """The same for people."""
    return f"stopped after {result['answered']} requests"
