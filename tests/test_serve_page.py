"""docs/serve.md, its own requests: curl as it stands there, to a server of the shipped checkpoints."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from http_server import serving
from pages import ROOT, blocks, pages

import perceiver_runtime as pr

PAGE = pages()["docs/serve.md"]
BUNDLES = {"flow": "flow", "digits": "image-classification", "senses": "text-classification"}


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not here")
def test_requests(shipped: Callable[..., Path], tmp_path: Path) -> None:
    shutil.copytree(ROOT / "samples", tmp_path / "samples")
    (requests,) = (block for block in blocks(PAGE) if block.startswith("curl "))
    assert [f"senses={BUNDLES['senses']}" in block for block in blocks(PAGE)].count(True) == 1
    with serving(tmp_path, *(f"{name}={shipped(task)}" for name, task in BUNDLES.items())) as server:
        script = "set -e\n" + requests.replace("127.0.0.1:8000", server.address).replace("curl ", "curl -sS --fail-with-body ")
        done = subprocess.run(["bash"], input=script, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"label": "3"' in done.stdout
    assert "animal" in done.stdout
    assert pr.read_flo(tmp_path / "motion.flo").shape == (240, 320, 2)
