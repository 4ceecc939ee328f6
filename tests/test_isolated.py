"""`perceiver verify --isolated`: what a bundle does to the process that runs it ends in an exit code and one line here."""

import builtins
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from perceiver_runtime.commands import isolated
from perceiver_runtime.commands.main import main


def verify(capsys: pytest.CaptureFixture[str], bundle: Path, *options: str) -> tuple[int, str]:
    """The exit code, and what was printed, which is one line where it failed."""
    code = main(["verify", str(bundle), "--isolated", *options])
    out, err = capsys.readouterr()
    assert len(err.splitlines()) == (code > 0), err
    return code, out + err


def test_a_good_bundle(tiny_bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The same result as without, and nothing of the bundle is opened here."""
    assert main(["verify", str(tiny_bundle), "--json", "--device", "cpu"]) == 0
    plain = json.loads(capsys.readouterr().out)
    for module, name in ((os, "open"), (builtins, "open")):
        usual = getattr(module, name)

        def watched(path: Any, *rest: Any, usual: Any = usual, **options: Any) -> Any:
            assert not str(path).startswith(str(tiny_bundle)), path
            return usual(path, *rest, **options)

        monkeypatch.setattr(module, name, watched)
    code, said = verify(capsys, tiny_bundle, "--json")
    assert (code, json.loads(said)) == (0, plain)
    code, said = verify(capsys, tiny_bundle)
    assert code == 0
    assert "known answer right on CPUExecutionProvider" in said


def test_what_the_child_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "manifest.json").write_text('{"\u202e": 1}')
    code, said = verify(capsys, tmp_path)
    assert code == 4
    assert "manifest has unknown keys ['\\u202e']" in said
    code, said = verify(capsys, tmp_path / "none")
    assert code == 1
    assert "there is no bundle at" in said
    code, said = verify(capsys, tmp_path, "--device", "cuda")
    assert (code, "--isolated runs on the CPU, not on cuda" in said) == (2, True)


@pytest.mark.parametrize("limit", ["30MB", "150MB"])
def test_too_little_memory(limit: str, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For Python alone, and for what it loads."""
    code, said = verify(capsys, tiny_bundle, "--limit-memory", limit)
    assert code == 3, said
    assert f"it reached {limit[:-2]} MB of memory" in said


CHILDREN = {
    "crash": ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", 4, r"crashed the process that ran it \(SIGSEGV; "),
    "abort": ("import os, sys; print('what(): std::bad_alloc', file=sys.stderr, flush=True); os.abort()", 3, "MB of memory"),
    "memory": ("bytearray(1 << 40)", 3, "MB of memory"),
    "processor": ("while True: pass", 3, "it reached 1 s of processor time"),
    "clock": ("import time; time.sleep(600)", 3, "it reached 1 s by the clock"),
    "words": ("print('x' * (1 << 21))", 4, "said more than 1048576 bytes"),
    "more words": ("while True: print('x' * (1 << 20))", 4, "said more than 1048576 bytes"),
    "no JSON": ("print('{')", 4, "is not valid JSON"),
    "other JSON": ("print('{\"bundle\": 1}')", 4, "unknown keys"),
    "silence": ("", 4, "should be an object"),
    "silent failure": ("raise SystemExit(7)", 4, "ended with code 7"),
    "core": ("import resource; assert resource.getrlimit(resource.RLIMIT_CORE) == (1, 1)", 4, "AssertionError"),
    "folder": ("import os; raise ValueError(os.listdir(), 'SECRET' in os.environ)", 4, r"ValueError: \(\[\], False\)"),
}


@pytest.mark.parametrize("what", CHILDREN)
def test_a_child_that(
    what: str, tmp_path: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    program, exit_code, message = CHILDREN[what]
    (tmp_path / "strange_child.py").write_text(program)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(isolated, "CHILD", "strange_child")
    monkeypatch.setenv("SECRET", "1")
    options = {"processor": ["--limit-cpu", "1", "--limit-time", "60"], "clock": ["--limit-time", "1"]}.get(what, [])
    code, said = verify(capsys, tiny_bundle, *options)
    assert code == exit_code, said
    assert re.search(message, said), said


def test_the_real_child_is_killed(
    tiny_bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(subprocess.Popen[bytes]):
        def wait(self, timeout: float | None = None) -> int:
            self.send_signal(signal.SIGSEGV)
            return super().wait(timeout)

    monkeypatch.setattr(subprocess, "Popen", Killed)
    code, said = verify(capsys, tiny_bundle)
    assert code == 4, said
    assert "SIGSEGV" in said


def test_a_system_without_limits(
    tiny_bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)
    code, said = verify(capsys, tiny_bundle)
    assert code == 5
    assert "--isolated needs limits on processes" in said


def test_limits_grow_with_the_files_up_to_what_is_there(tmp_path: Path) -> None:
    asked = isolated.argparse.Namespace(bundle=tmp_path, limit_memory=None, limit_cpu=None, limit_time=None)
    assert isolated.limits(asked) == isolated.Limits(3 << 30, 300, 300)
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 43)
    most = isolated.limits(asked)
    assert most.memory <= max(3 << 30, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    assert most.seconds < 10**7
    asked.limit_cpu = 7
    assert isolated.limits(asked).seconds == 7
