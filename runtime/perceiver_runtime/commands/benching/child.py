"""One process of a load test: a job on stdin; ready, then what was seen, on stdout."""

from __future__ import annotations

import dataclasses
import json
import sys

from perceiver_runtime.bundle.reader import open_bundle
from perceiver_runtime.commands.benching.load import Schedule, measure_load
from perceiver_runtime.commands.benching.memory import peak_memory
from perceiver_runtime.common.errors import PerceiverError
from perceiver_runtime.tasks.known_answer import FILE, Sample
from perceiver_runtime.tasks.loading import check_task, open_pipeline
from perceiver_runtime.tasks.pipeline import RuntimeOptions


def main() -> None:
    """Load, warm up, wait for the word, measure."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what engines print is no answer
    job = json.loads(sys.stdin.readline())
    try:
        bundle = open_bundle(job["bundle"])
        task = check_task(bundle, None)
        item = task.kind(bundle.manifest).from_sample(Sample.read(bundle.read(FILE)).inputs)
        with open_pipeline(bundle, RuntimeOptions(**job["options"])) as pipeline:
            call = task.call(pipeline, item, 1)
            for _ in range(job["warm_up"]):
                call()
            print(json.dumps({"provider": pipeline.provider}), file=answers, flush=True)
            if not sys.stdin.readline():
                return  # the parent has gone
            schedule = Schedule(**job["schedule"]) if job["schedule"] else None
            load = measure_load(call, job["workers"], job["seconds"], schedule)
        found: dict[str, object] = {"load": dataclasses.asdict(load), "peak_memory_bytes": peak_memory()}
    except PerceiverError as error:
        found = {"error": str(error)}
    print(json.dumps(found), file=answers, flush=True)


if __name__ == "__main__":
    main()
