"""The programs in examples/: an OpenCV loop and a web service."""

from __future__ import annotations

import io
import subprocess
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from example_files import EXAMPLES, example
from fastapi.testclient import TestClient
from PIL import Image
from published import real_frames

import perceiver_runtime as pr
from perceiver_runtime.common.children import python_code


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Four frames of a photograph that moves by two pixels to the right, made by OpenCV."""
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (56, 40))
    frame = real_frames(40, 56)[0]
    for step in range(4):
        writer.write(np.ascontiguousarray(np.roll(frame, 2 * step, axis=1)[..., ::-1]))
    writer.release()
    return path


def test_opencv(small_bundle: Path, clip: Path, tmp_path: Path) -> None:
    code = "import runpy, sys; sys.argv.pop(0); runpy.run_path(sys.argv[0], run_name='__main__')"

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [*python_code(code), str(EXAMPLES / "opencv_flow.py"), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    output = tmp_path / "motion.mp4"
    done = run(small_bundle, clip, "-o", output)
    assert (done.returncode, done.stdout) == (0, "3 fields of 4 frames, 0 of them passed over\n"), done.stderr
    capture = cv2.VideoCapture(str(output))
    shown = [capture.read()[1] for _ in range(3)]
    assert (shown[0].shape, capture.read()[0], capture.get(cv2.CAP_PROP_FPS)) == ((40, 112, 3), False, 10)
    first = cv2.VideoCapture(str(clip)).read()[1].astype(int)
    assert np.abs(shown[0][:, :56].astype(int) - first).mean() < 12  # the frame itself, in its colours, beside the flow
    assert np.abs(shown[0][:, :56, ::-1].astype(int) - first).mean() > 15  # the negative control: in BGR and RGB
    assert shown[0][:, 56:].std() > 5
    missing = run(small_bundle, tmp_path / "gone.mp4", "-o", output)
    assert (missing.returncode, missing.stderr.splitlines()[-1].endswith("gone.mp4 cannot be opened")) == (1, True)


@pytest.fixture
def picture() -> bytes:
    content = io.BytesIO()
    Image.fromarray(real_frames(40, 56)[0]).save(content, "png")
    return content.getvalue()


def test_service(shipped: Callable[..., Path], picture: bytes) -> None:
    service = example("fastapi_service")
    bundle = shipped("image-classification")
    with pr.load(bundle, task="image-classification") as classify:
        expected = classify(picture, top_k=2).to_dict()
    app = service.create_app(str(bundle), service.Limits(upload_bytes=len(picture)))
    with TestClient(app) as client:
        answer = client.post("/labels?top_k=2", content=picture)
        assert (answer.status_code, answer.json()) == (200, expected)
        assert client.post("/labels", content=picture + b"x").status_code == 413
        # a body whose length nobody says
        assert client.post("/labels", content=iter([picture, b"x" * 9])).status_code == 413
        bad = client.post("/labels", content=b"\x89PNG nothing")
        assert (bad.status_code, "is not an image" in bad.json()["detail"]) == (422, True)
        assert client.post("/labels?top_k=0", content=picture).status_code == 422
        assert client.get("/health").json() == {"task": "image-classification", "busy": 0, "places": 18}
    with (
        pytest.raises(pr.IntegrityError, match="is another bundle"),
        TestClient(service.create_app(str(bundle), manifest_sha256="0" * 64)),
    ):
        pass


def test_service_that_is_busy(shipped: Callable[..., Path], picture: bytes) -> None:
    """Calls whose time is up keep their places until they are done; those that find none are told so."""
    service = example("fastapi_service")
    limits = service.Limits(answer_seconds=0.3, upload_seconds=0.3, workers=1, waiting=1)
    app, go_on = service.create_app(str(shipped("image-classification")), limits), threading.Event()

    def slow(content: bytes, *, top_k: int) -> Any:
        go_on.wait(20)
        return types.SimpleNamespace(to_dict=lambda: {"length": len(content)})

    def endless() -> Iterator[bytes]:
        for _ in range(20):
            time.sleep(0.1)
            yield b"x"

    with TestClient(app) as client:
        manifest, app.state.classify = app.state.classify.manifest, slow
        slow.manifest = manifest  # type: ignore[attr-defined]
        codes: list[int] = []
        calls = [
            threading.Thread(target=lambda: codes.append(client.post("/labels", content=picture).status_code)) for _ in "ab"
        ]
        for call in calls:
            call.start()
        while client.get("/health").json()["busy"] < 2:
            time.sleep(0.01)
        full = client.post("/labels", content=picture)
        assert (full.status_code, full.headers["Retry-After"]) == (503, "1")
        for call in calls:
            call.join()
        assert codes == [504, 504]
        assert client.get("/health").json()["busy"] == 1  # the one that runs; the one that waited was taken back
        go_on.set()
        while client.get("/health").json()["busy"]:
            time.sleep(0.01)
        assert client.post("/labels", content=picture).json() == {"length": len(picture)}
        assert client.get("/health").json()["busy"] == 0
