"""Throughput, latency and memory while several calls run at once, and which way of using the cores is best."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import subprocess
from typing import IO, Any

from perceiver_runtime.backends.cores import available_cores
from perceiver_runtime.commands.arguments import runtime_options
from perceiver_runtime.commands.benching.load import PERCENTILES, Load, summary
from perceiver_runtime.common.children import own_module
from perceiver_runtime.common.errors import BackendError, UsageError
from perceiver_runtime.tasks.arguments import positive
from perceiver_runtime.tasks.pipeline import RuntimeOptions

_OPTIONS = ("workers", "processes", "rate", "seconds")
_ENDED = "a process of the load test ended early: see what it said, or try fewer processes where memory is short"
_SAME = 0.03  # throughputs that differ by less are the same


def above_zero(text: str) -> float:
    """An argument that is a finite number above 0."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError("give a number above 0")
    return value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What asks for a load."""
    group = parser.add_argument_group("under load, one input a call")
    group.add_argument("--workers", type=positive, metavar="N", help="threads that call, in each process (default: 1)")
    group.add_argument("--processes", type=positive, metavar="P", help="each with the bundle of its own (default: 1)")
    help_text = "inputs that arrive a second, over all processes; latency counts from then (default: each worker calls again)"
    group.add_argument("--rate", type=above_zero, metavar="R", help=help_text)
    group.add_argument("--seconds", type=above_zero, metavar="S", help="how long (default: 10)")
    help_text = "compare one thread a call, in one process and in several, with all cores a call, and say which to take"
    group.add_argument("--sweep", action="store_true", help=help_text)


def asked(arguments: argparse.Namespace) -> bool:
    """Whether a load is. Raises `UsageError` for options that do not go together."""
    given = [name for name in _OPTIONS if getattr(arguments, name) is not None]
    if not given and not arguments.sweep:
        return False
    if arguments.runs is not None or arguments.batch is not None:
        raise UsageError("--runs and --batch are for calls one after another: leave them out under load, and give --seconds")
    fixed = [f"--{name}" for name in ("workers", "processes", "rate", "threads") if getattr(arguments, name) is not None]
    if arguments.sweep and fixed:
        raise UsageError(
            f"--sweep chooses workers, processes and threads itself, in a closed loop: leave out {' and '.join(fixed)}"
        )
    return True


def run(arguments: argparse.Namespace) -> dict[str, object]:
    """Measure each way that is asked for, in processes of their own."""
    options, seconds = runtime_options(arguments), arguments.seconds or 10.0
    ways = [(arguments.workers or 1, arguments.processes or 1, options.threads)]
    if arguments.sweep:
        cores = available_cores()
        ways = list(dict.fromkeys([(cores, 1, 1), (1, cores, 1), (1, 1, cores)]))
    loads: list[dict[str, Any]] = []
    for workers, processes, threads in ways:
        placed = dataclasses.replace(options, threads=threads)
        found = _measure(arguments.bundle, placed, workers, processes, seconds, arguments.rate, arguments.warm_up)
        loads.append({"workers": workers, "processes": processes, "threads": threads or available_cores()} | found)
    result: dict[str, object] = {"bundle": arguments.bundle, "seconds": seconds, "rate": arguments.rate, "loads": loads}
    return result | ({"advice": advice(loads)} if arguments.sweep else {})


def _measure(
    bundle: str, options: RuntimeOptions, workers: int, processes: int, seconds: float, rate: float | None, warm_up: int
) -> dict[str, object]:
    placed = {name: getattr(options, name) for name in ("device", "threads", "max_memory")}
    job = {"bundle": bundle, "options": placed, "workers": workers, "seconds": seconds, "warm_up": warm_up}
    command = own_module("perceiver_runtime.commands.benching.child")
    children = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    try:
        for number, child in enumerate(children):
            schedule = {"first": number / rate, "every": processes / rate} if rate else None
            _tell(child.stdin, json.dumps({**job, "schedule": schedule}))
        ready = [_answer(child.stdout) for child in children]
        for child in children:
            _tell(child.stdin, "")
        found = [_answer(child.stdout) for child in children]
    except BaseException:
        for child in children:
            child.kill()
        raise
    finally:
        for child in children:
            child.communicate()
    peaks = [each["peak_memory_bytes"] for each in found]
    memory = None if None in peaks else sum(peaks)
    return {"provider": ready[0]["provider"], **summary([Load(**each["load"]) for each in found]), "peak_memory_bytes": memory}


def _tell(stream: IO[str] | None, text: str) -> None:
    assert stream is not None
    try:
        stream.write(text + "\n")
        stream.flush()
    except OSError:
        raise BackendError(_ENDED) from None


def _answer(stream: IO[str] | None) -> dict[str, Any]:
    assert stream is not None
    line = stream.readline()
    if not line:
        raise BackendError(_ENDED)
    found: dict[str, Any] = json.loads(line)
    if "error" in found:
        raise BackendError(found["error"])
    return found


def advice(loads: list[dict[str, Any]]) -> str:
    """What to take, from what was measured: the most answers a second, of equals the one with the least memory."""
    best = max(each["answers_per_second"] for each in loads)
    equals = [each for each in loads if each["answers_per_second"] >= (1 - _SAME) * best]
    most = min(equals, key=lambda each: (each["peak_memory_bytes"] or 0, each["p50"]))
    text = f"for many inputs take {_way(most)}: {most['answers_per_second']:.3g} a second"
    quickest = min(loads, key=lambda each: each["p50"])
    if quickest is most:
        return f"{text}, and the shortest answers too"
    return f"{text}; for the shortest answers {_way(quickest)}: {1000 * quickest['p50']:.3g} ms"


def _way(load: dict[str, Any]) -> str:
    return f"--workers {load['workers']} --processes {load['processes']} --threads {load['threads']}"


def render(result: dict[str, Any]) -> str:
    """The same for people."""
    loop = f"{result['rate']:g} inputs a second arrive" if result["rate"] else "each worker calls again when answered"
    names = ["processes", "workers", "threads", "answers", "a second", *(f"p{each} ms" for each in PERCENTILES), "memory MB"]
    lines = [f"{result['bundle']} on {result['loads'][0]['provider']}: {result['seconds']:g} s, {loop}"]
    lines.append("".join(f"{name:>10}" for name in names))
    for load in result["loads"]:
        counts = [str(load[name]) for name in ("processes", "workers", "threads", "answers")]
        times = [f"{1000 * load[f'p{each}']:.2f}" for each in PERCENTILES]
        memory = "" if load["peak_memory_bytes"] is None else f"{load['peak_memory_bytes'] / 1e6:.0f}"
        lines.append("".join(f"{cell:>10}" for cell in (*counts, f"{load['answers_per_second']:.4g}", *times, memory)))
        if load["unanswered"]:
            lines.append(f"  too fast: {load['unanswered']} inputs still waited at the end and count with their wait so far")
    if len(result["loads"]) > 1 or result["loads"][0]["processes"] > 1:
        lines.append("memory: the sum of the processes' peaks; pages that they share count in each")
    return "\n".join([*lines, *([result["advice"]] if "advice" in result else [])])
