"""Export the shipped checkpoint of each task into FOLDER, and show what the bundles answer."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from perceiver_deploy import export_bundle
from perceiver_deploy.demo import clips, commands, digits, flow, text
from perceiver_deploy.tasks.registry import EXPORT_TASKS
from perceiver_runtime.tasks.outputs import progress_line

SHOWS: dict[str, Callable[[Path, Path], list[str]]] = {
    "flow": flow.show,
    "fill-mask": text.show_masked,
    "text-classification": text.show_classes,
    "token-classification": text.show_fields,
    "image-classification": digits.show,
    "audio-classification": commands.show,
    "multimodal": clips.show,
}


def main() -> None:
    """For each task: the bundle in FOLDER/TASK, pictures in FOLDER, lines on the standard output."""
    parser = argparse.ArgumentParser(prog="python -m perceiver_deploy.demo", description=__doc__)
    parser.add_argument("folder", type=Path, help="where bundles and pictures are written")
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for task, show in SHOWS.items():
        bundle = folder / task
        print(f"{task}: perceiver-export --task {task} -o {bundle}   ({EXPORT_TASKS[task].shipped})", flush=True)
        with progress_line() as progress:
            export_bundle(task=task, output=bundle, force=True, progress=progress)
        print("\n".join(f"  {line}" for line in show(bundle, folder)) + "\n", flush=True)


if __name__ == "__main__":
    main()
