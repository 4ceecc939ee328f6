"""README and docs: their own commands and code run in order, each page in a clean folder, on the shipped checkpoints.

What cannot run is named in CODES and NOT_RUN, or by `no-run` in the page. tests/test_pages_held.py says what holds other pages.
"""

import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import chdir
from pathlib import Path

import pytest
from pages import ROOT, blocks, commands, in_tables
from pages_given import GIVEN, nothing

from perceiver_deploy import cli
from perceiver_runtime.commands.main import main

DIGITS = ROOT / "models/perceiver_io/checkpoints/digits-fourier"
BUNDLES = {"digits": "image-classification"} | {
    task: task
    for task in (
        "flow",
        "fill-mask",
        "text-classification",
        "token-classification",
        "image-classification",
        "audio-classification",
        "multimodal",
        "features",
    )
}
PAGES = ["README.md", *(f"docs/{name}.md" for name in ("bundle", "commands", "cpus", "python", "memory", "video", "jobs"))]
PAGES += [f"docs/tasks/{path.name}" for path in sorted((ROOT / "docs/tasks").glob("*.md"))]
SETUP = {"make", "pip", "python3"}  # of the reader's machine
CODES = {  # command: how it ends without a GPU
    "perceiver build flow-trt --workspace 1GB": 5,
    "perceiver run flow-trt --sample --device tensorrt": 5,
}
NOT_RUN = {  # command: why, or what does
    "perceiver run flow --camera 0 -o camera.mp4": "needs a camera",
    "find samples -name '*.png' '|' perceiver run digits - --jsonl found.jsonl": "test_standard_input.py",
    "perceiver evaluate qa squad.csv": "no checkpoint ships: test_evaluate_several.py",
    "perceiver evaluate detector boxes.csv": "no checkpoint ships: test_evaluate_several.py",
}
SAID = {  # of a page: what its commands print, among other things
    "README.md": ("1  3\n", "1  7\n", "wrote motion.png", "PHONE"),
}


@pytest.fixture
def here(shipped: Callable[..., Path], tmp_path: Path) -> Iterator[Path]:
    """A folder with the samples, the reader's own checkpoint, and bundles under the names of the pages."""
    shutil.copytree(ROOT / "samples", tmp_path / "samples")
    shutil.copytree(DIGITS, tmp_path / "path/to/your/checkpoint")
    for name, task in BUNDLES.items():
        (tmp_path / name).symlink_to(shipped(task))
    with chdir(tmp_path):
        yield tmp_path


def run(words: list[str], *, shared: bool = False) -> None:
    """One command of this project, in this process; with `shared` not the export of a bundle that is there."""
    program, *arguments = words
    if program in SETUP or shlex.join(words) in NOT_RUN:
        return
    if program == "perceiver-export" and Path(arguments[-1]).is_symlink():
        if shared and arguments == ["--task", arguments[-1], "-o", arguments[-1]]:
            return  # what is there came of that
        Path(arguments[-1]).unlink()
    ended = cli.main(arguments) if program == "perceiver-export" else main(arguments)
    assert program in ("perceiver", "perceiver-export"), words
    assert ended == CODES.get(shlex.join(words), 0), words


@pytest.mark.parametrize("name", PAGES)
def test_the_page_runs(name: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / name).read_text(encoding="utf-8")
    variables = GIVEN.get(name, nothing)()
    for block in blocks(page):
        if block.info == "":
            for words in commands(block):
                run(words, shared=name.startswith("docs/tasks/"))
        elif block.info == "python":
            exec(compile(block, name, "exec"), variables)
        else:
            assert block.info == "text" or block.info.startswith("python no-run: "), block.info
    for line in in_tables(page):
        if Path(shlex.split(line)[2]).exists():
            run(shlex.split(line))
    said = capsys.readouterr().out
    for part in SAID.get(name, ()):
        assert part in said


def test_a_page_that_has_become_wrong_fails(here: Path) -> None:
    with pytest.raises(AssertionError):
        run(["perceiver", "run", "flow", "samples/frame3.png", "samples/frame2.png"])
    with pytest.raises(AssertionError):
        run(["perceive", "verify", "flow"])
