"""No page becomes wrong unseen: a test runs each block, or here is why none does; options, commands and names exist."""

import re

import pytest
from pages import ROOT, blocks, commands, pages, spans

import perceiver_deploy
import perceiver_io
import perceiver_runtime
from perceiver_deploy import cli
from perceiver_deploy.options import PRECISIONS
from perceiver_runtime.bundle.graph_check import MICROSOFT_OPERATORS, OPERATORS
from perceiver_runtime.commands.main import build_parser

RUN = {  # as they stand
    "test_documentation.py": (
        *("README.md", "docs/bundle.md", "docs/commands.md", "docs/cpus.md", "docs/python.md", "docs/memory.md"),
        *("docs/tasks/", "docs/video.md", "docs/jobs.md"),
    ),
    "test_serve_page.py": ("docs/serve.md",),
    "test_jetson_page.py": ("docs/jetson.md",),
    "test_wire.py": ("docs/wire.md",),
}
HELD = {  # what the page shows, with other files or at other sizes
    "docs/hub.md": ("test_hub.py", "test_push.py", "test_signature.py"),
    "docs/own-heads.md": ("test_own_heads.py", "test_own_kinds.py"),
    "docs/new-tasks.md": ("test_detection_and_questions.py", "test_token_classification.py", "test_sound_and_video.py"),
    "docs/recipes.md": ("test_recipes.py",),
    "docs/scale.md": ("test_ray.py", "test_triton.py", "test_triton_explicit.py"),
    "docs/tensorrt.md": ("test_jetson_page.py",),
    "docs/web.md": ("test_web.py",),
}
NOT_RUN = {
    "CONTRIBUTING.md": "sets up a checkout",
    "docs/checkpoints.md": "needs the published checkpoints, from a network",
    "docs/deploy.md": "needs NVIDIA's perf_analyzer",
    "docs/gpu.md": "needs a GPU",
}
PROSE = ("text", "bibtex")
FOREIGN = {"--help", "--preload", "--runtime", "--system-site-packages", "--input-data"}  # of other programs
PACKAGES = {"pr": perceiver_runtime, "pd": perceiver_deploy, "pio": perceiver_io}
OURS = ("perceiver", "perceiver-export")
PAGES = pages()


def ours(page: str) -> list[list[str]]:
    """Commands of this project in a page's blocks."""
    found = [words for block in blocks(page) if block.info == "" for words in commands(block)]
    return [words for words in found if words[0].rpartition("/")[2] in OURS]


def test_each_page_with_blocks_is_run_or_says_why_not() -> None:
    shown = {name for name, page in PAGES.items() if any(block.info not in PROSE for block in blocks(page))}
    run = tuple(name for names in RUN.values() for name in names)
    left = {name for name in shown if not name.startswith(run)}
    assert left == {*HELD, *NOT_RUN}, "have test_documentation.py run it, or name here what does, or why nothing can"
    assert [file for files in (*HELD.values(), RUN) for file in files if not (ROOT / "tests" / file).exists()] == []


def declared() -> set[str]:
    """Every option of the commands, and of the programs in tools, examples and benchmarks."""
    folders = ("runtime/perceiver_runtime", "perceiver_deploy", "models", "examples", "benchmarks", "tools")
    code = "".join(path.read_text(encoding="utf-8") for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return set(re.findall(r"[\"'](--[a-z][a-z0-9-]*)[\"']", code)) | {f"--{precision}" for precision in PRECISIONS}


def unknown_options(page: str, known: set[str]) -> set[str]:
    """Options in a page that no command has."""
    said = [span for span in spans(page) if span.startswith(("--", *OURS))]
    said += [" ".join(words) for words in ours(page)]
    return {option for text in said for option in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", text)} - known - FOREIGN


def test_options_exist() -> None:
    known = declared()
    assert {name: unknown_options(page, known) for name, page in PAGES.items() if unknown_options(page, known)} == {}
    assert unknown_options("`--device cpu --devise` and\n\n```\nperceiver verify flow --pubic-key k\n```\n", known) == {
        "--devise",
        "--pubic-key",
    }


def test_commands_are_parsed() -> None:
    """`perceiver run` parses what its bundle's task takes: that is for the tests that run it."""
    parsers = {"perceiver": build_parser(), "perceiver-export": cli.build_parser()}
    seen = 0
    for page in PAGES.values():
        for program, *arguments in ours(page):
            if arguments[0] != "run":
                parsers[program.rpartition("/")[2]].parse_args(arguments)
                seen += 1
    assert seen > 30
    with pytest.raises(SystemExit):
        parsers["perceiver"].parse_args(["build", "flow", "--gpus", "SM89"])


def unknown_names(page: str) -> set[str]:
    """Names of our packages in a page's code that are not there."""
    code = [*spans(page), *(block for block in blocks(page) if block.info.startswith("python"))]
    found = {match for text in code for match in re.findall(r"\b(pr|pd|pio)\.([A-Za-z_]\w*)", text)}
    return {f"{package}.{name}" for package, name in found if not hasattr(PACKAGES[package], name)}


def test_names_exist() -> None:
    assert {name: unknown_names(page) for name, page in PAGES.items() if unknown_names(page)} == {}
    assert unknown_names("`pr.loud(x)`, `pr.load`") == {"pr.loud"}


def test_operators_are_those_that_graphs_may_have() -> None:
    (listed,) = (block for block in blocks(PAGES["docs/bundle.md"]) if "com.microsoft:" in block)
    plain, _, microsoft = listed.partition("com.microsoft:")
    assert (set(plain.split()), set(microsoft.split())) == (OPERATORS, MICROSOFT_OPERATORS)


def test_python_is_python() -> None:
    for name, page in PAGES.items():
        for block in blocks(page):
            if block.info.startswith("python"):
                compile(block, name, "exec")
