"""Threads and memory: one way to write them, in Python and on the command line, and one sentence where they make no sense."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import perceiver_runtime as pr
from perceiver_deploy import cli, export_bundle
from perceiver_runtime.commands.main import build_parser, main
from perceiver_runtime.common.amounts import memory_argument, memory_bytes, old_megabytes, thread_count, whole_number
from perceiver_runtime.tasks import arguments


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (700_000_000, 700_000_000),
        (np.int64(2_000_000), 2_000_000),
        (1e9, 1_000_000_000),
        ("700MB", 700_000_000),
        ("700 mb", 700_000_000),
        (" 1.5GB ", 1_500_000_000),
        ("2000kB", 2_000_000),
        ("192MiB", 192 << 20),
        ("1GiB", 1 << 30),
        ("5000000B", 5_000_000),
    ],
)
def test_memory(value: Any, expected: int) -> None:
    assert memory_bytes("max_memory", value) == expected


@pytest.mark.parametrize(
    "value",
    [
        "700",
        "1e9",
        "lots",
        "",
        "MB",
        "-5MB",
        "1,5GB",
        "700MBit",
        "7TBs",
        "∞GB",
        "٧MB",
        "9" * 400,
        None,
        True,
        [1],
        1.5,
        np.inf,
        np.nan,
    ],
)
def test_no_memory(value: Any) -> None:
    with pytest.raises(pr.UsageError, match=r"^max_memory is .*: give bytes, or a text such as '700MB'$"):
        memory_bytes("max_memory", value)


@pytest.mark.parametrize("value", [700, 0, -1, 999_999, "1kB", "0GB", 700.0, -(10**12)])
def test_too_little_to_be_meant(value: Any) -> None:
    """700 is what is written on the command line for 700 megabytes."""
    with pytest.raises(pr.UsageError, match=r"^max_memory is .*, -?\d+ bytes: give at least a megabyte, in bytes or as a text"):
        memory_bytes("max_memory", value)


def test_the_command_line_counts_in_megabytes() -> None:
    assert memory_argument("700") == memory_argument("700MB") == memory_bytes("x", "700MB")
    assert memory_argument("1.5") == 1_500_000
    assert memory_argument("2GiB") == 2 << 30
    for text in ("", "0", "-3", "x", "1e3", "nan", "inf", "700MBps", ".", "1.2.3", "0.5MB"):
        with pytest.raises(ValueError, match="is no amount of memory: give at least a megabyte, such as 700MB"):
            memory_argument(text)


def test_threads(tiny_bundle: Path) -> None:
    for value in (0, -3, "4", 1.0, None, True):
        with pytest.raises(pr.UsageError, match=r"^threads is .*: give a whole number of at least 1$"):
            thread_count(value)
    with pytest.raises(pr.UsageError, match=r"^threads is 1000000: give \d+ at most, or leave it out"):
        thread_count(10**6)
    for wrong in (0, -3, "4", 10**20):
        with pytest.raises(pr.UsageError, match="threads is"):
            pr.load(tiny_bundle, threads=wrong)
    pr.load(tiny_bundle, device="cpu", threads=np.int64(1)).close()


def test_load(tiny_bundle: Path) -> None:
    for wrong in ("1 gigabyte", 700, -1, [1]):
        with pytest.raises(pr.UsageError, match=r"^max_memory is"):
            pr.load(tiny_bundle, max_memory=wrong)
    with pr.load(tiny_bundle, max_memory="1GB") as flow, pr.load(tiny_bundle, max_memory=10**9) as same:
        assert flow.processor == same.processor


def test_other_whole_numbers(tiny_bundle: Path) -> None:
    assert whole_number("x", np.uint8(3)) == 3
    frames = np.zeros((2, 40, 56, 3), np.uint8)
    with pr.load(tiny_bundle, device="cpu") as flow:
        for wrong in (0, "700", 7.5):
            with pytest.raises(pr.InputError, match=r"query_chunk is .*: give a whole number of at least 1"):
                flow(*frames, query_chunk=wrong)


def test_the_same_on_every_command(capsys: pytest.CaptureFixture[str], tiny_bundle: Path) -> None:
    parser = build_parser()
    parsed = parser.parse_args(["bench", "x", "--max-memory", "700", "--threads", "2"])
    assert (parsed.max_memory, parsed.threads) == (700_000_000, 2)
    assert parser.parse_args(["verify", "x", "--max-memory", "1.5GB"]).max_memory == 1_500_000_000
    assert parser.parse_args(["build", "x", "--workspace", "1GiB"]).workspace == 1 << 30
    assert cli.build_parser().parse_args(["--memory-budget", "100"]).memory_budget == 100_000_000
    commands: list[tuple[list[str], str]] = [
        (["verify", str(tiny_bundle), "--max-memory", "lots"], "'lots' is no amount of memory: give at least a megabyte"),
        (["verify", str(tiny_bundle), "--threads", "0"], "give at least 1"),
        (["verify", str(tiny_bundle), "--threads", "1000000"], "threads is 1000000: give"),
        (["build", str(tiny_bundle), "--workspace", "0"], "'0' is no amount of memory"),
        (["triton", str(tiny_bundle), "-o", "x", "--threads", "99999"], "threads is 99999: give"),
    ]
    for command, message in commands:
        with pytest.raises(SystemExit) as ended:
            main(command)
        assert ended.value.code == 2
        assert message in capsys.readouterr().err


def test_old_names() -> None:
    with pytest.warns(DeprecationWarning, match="memory_mb is now query_memory, in bytes or as a text such as '700MB'"):
        assert old_megabytes("query_memory", None, "memory_mb", 200) == 200_000_000
    with (
        pytest.warns(DeprecationWarning, match="memory_mb is now"),
        pytest.raises(pr.UsageError, match="memory_mb is the old name of query_memory: give one"),
    ):
        old_megabytes("query_memory", "200MB", "memory_mb", 200)
    for wrong in ("200", 0, -1, np.inf, np.nan, True):
        with (
            pytest.warns(DeprecationWarning, match="memory_mb is now"),
            pytest.raises(pr.UsageError, match=r"memory_mb is .*: give query_memory in bytes"),
        ):
            old_megabytes("query_memory", None, "memory_mb", wrong)
    assert old_megabytes("query_memory", "1MB", "memory_mb", None) == "1MB"


def test_old_names_where_they_are(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    read = arguments.old_memory("--memory-mb", "--query-memory")
    assert read("200") == 200_000_000
    assert capsys.readouterr().err == "--memory-mb is now --query-memory\n"
    with pytest.raises(argparse.ArgumentTypeError, match="is no amount of memory"):
        read("0")
    options: dict[str, Any] = {"task": "flow", "checkpoint": "nothing", "output": tmp_path / "out"}
    with pytest.warns(DeprecationWarning, match="memory_budget_mb is now memory_budget"), pytest.raises(pr.InputError):
        export_bundle(**options, memory_budget_mb=192)
    with pytest.raises(pr.UsageError, match="memory_budget is 192, 192 bytes: give at least a megabyte"):
        export_bundle(**options, memory_budget=192)


def test_a_clip_in_a_budget(shipped: Any) -> None:
    with pr.load(shipped("multimodal"), device="cpu") as autoencode:
        clip = autoencode.processor
        assert clip.chunk(None, "2MB") == clip.chunk(None, 2_000_000) == max(1, 2_000_000 // clip.query_bytes)
        assert clip.chunk(None, None) == clip.query_chunk
        assert clip.chunk(7, None) == 7
        video = np.zeros((clip.frames, 32, 32, 3), np.uint8)
        expected = autoencode.frames([0], video)
        np.testing.assert_allclose(autoencode.frames([0], video, query_memory="2MB"), expected, atol=1e-5)
        with pytest.warns(DeprecationWarning, match="memory_mb is now query_memory"):
            np.testing.assert_allclose(autoencode.frames([0], video, memory_mb=2), expected, atol=1e-5)
        with pytest.raises(pr.UsageError, match="query_memory is 2, 2 bytes: give at least a megabyte"):
            autoencode.frames([0], video, query_memory=2)
