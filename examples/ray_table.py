"""A folder or a Parquet table of image pairs, images, clips or texts, through a bundle, to a table of answers, with Ray.

    pip install 'ray[data]' './runtime[cpu,images]'
    python examples/ray_table.py flow frames/ motion/ --actors 2            # pairs of consecutive images, sorted by name
    python examples/ray_table.py text-classification texts.parquet kinds/   # columns id, text

A folder gives a row for each file (for flow: for each file and the next), its name as `id`; a text file gives one for each
line. A table has the columns that perceiver_runtime.ray.BundleRows reads, and `id`. Answers are in OUTPUT as they are found,
with an `error` column: a bad item fails alone. Interrupted, or after a node was lost, the same command does only what is
missing. With --address the job runs on a cluster, where all nodes see bundle, inputs and output under the same paths.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from pathlib import Path

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import pandas
import pyarrow.parquet
import ray
from ray.data.checkpoint import CheckpointConfig

from perceiver_runtime import PerceiverError
from perceiver_runtime.bundle.reader import open_bundle
from perceiver_runtime.ray import BundleRows
from perceiver_runtime.tasks.loading import check_task

SUFFIXES = {
    "frames": {".png", ".jpg", ".jpeg", ".npy", ".bmp", ".webp"},
    "image": {".png", ".jpg", ".jpeg", ".npy", ".bmp", ".webp"},
    "clip": {".gif"},
    "text": {".txt"},
}


def index(source: Path, kind: str) -> pandas.DataFrame:
    """What there is to do: a table with `id` and the columns of a kind of input."""
    if source.is_file():
        return pyarrow.parquet.read_table(source).to_pandas()
    rows: list[dict[str, str | None]]
    files = sorted(path for path in source.iterdir() if path.suffix.lower() in SUFFIXES[kind])
    if kind == "frames":
        pairs = list(itertools.pairwise(files))
        rows = [{"id": first.name, "frame1": str(first), "frame2": str(second)} for first, second in pairs]
    elif kind == "clip":
        sounds = [path.with_suffix(".wav") for path in files]
        rows = [
            {"id": path.name, "video": str(path), "audio": str(sound) if sound.exists() else None}
            for path, sound in zip(files, sounds)
        ]
    elif kind == "image":
        rows = [{"id": path.name, "image": str(path)} for path in files]
    else:
        lines = [(path.name, number, line) for path in files for number, line in enumerate(path.read_text().splitlines(), 1)]
        rows = [{"id": f"{name}:{number}", "text": line} for name, number, line in lines]
    return pandas.DataFrame(rows)


def main() -> int:
    """Index, run, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("input", type=Path, help="a folder, or a Parquet file")
    parser.add_argument("output", type=Path, help="the folder of the table; what is there already is not done again")
    parser.add_argument("--actors", type=int, default=1, help="that run at once, each with the bundle loaded (default: 1)")
    parser.add_argument("--threads", type=int, default=1, help="and cores of each (default: 1)")
    parser.add_argument("--batch-size", type=int, default=8, help="rows that are run, kept and written together (default: 8)")
    parser.add_argument("--device", default="cpu", help="as perceiver run --device (default: cpu)")
    parser.add_argument("--address", help="of a Ray cluster (default: this machine alone)")
    options = parser.parse_args()
    options.bundle, options.input, options.output = (
        path.absolute() for path in (options.bundle, options.input, options.output)
    )
    # Ray puts the current folder first on its workers' module path: a queue.py among the inputs would be run
    os.chdir(Path(__file__).absolute().parent)
    try:
        bundle = open_bundle(options.bundle)
        kind = check_task(bundle, None).kind(bundle.manifest).name
    except PerceiverError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return error.exit_code
    table = index(options.input, kind)
    if table.empty or "id" not in table or not table["id"].is_unique:
        print(f"{parser.prog}: {options.input} has nothing to do, or no unique column id: see --help", file=sys.stderr)
        return 1
    local = {} if options.address else {"num_cpus": options.actors * options.threads + 1, "include_dashboard": False}
    ray.init(address=options.address, logging_level="warning", **local)
    output = options.output
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = sys.stderr.isatty()
    context.checkpoint_config = CheckpointConfig(
        id_column="id", checkpoint_path=f"{output}.done", delete_checkpoint_on_success=False
    )
    # what Ray runs, keeps and writes together is a block, by bytes: as many as a batch has
    context.target_max_block_size = max(1, int(table.memory_usage(deep=True).sum() / len(table) * options.batch_size))
    output.mkdir(parents=True, exist_ok=True)
    work = output.parent / f"{output.name}.index"
    work.mkdir(exist_ok=True)
    table.to_parquet(work / "index.parquet", row_group_size=options.batch_size)
    rows = ray.data.read_parquet(str(work), override_num_blocks=max(1, len(table) // options.batch_size))
    answers = rows.map_batches(
        BundleRows,
        fn_constructor_args=(str(options.bundle),),
        fn_constructor_kwargs={"device": options.device, "threads": options.threads},
        compute=ray.data.ActorPoolStrategy(size=options.actors),
        num_cpus=options.threads,
        batch_size=options.batch_size,
        max_restarts=-1,
        max_task_retries=-1,
    )
    answers.write_parquet(str(output))
    done = pyarrow.parquet.read_table(output, columns=["id", "error"]).to_pandas()
    bad = done[done["error"] != ""]
    print(f"{len(done)} rows in {output}, {len(bad)} of them with an error")
    for row in bad.itertuples():
        print(f"  {row.id}: {row.error}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
