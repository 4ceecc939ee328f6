"""The page of web/ in a real Chromium: its answers are the Python runtime's, and a damaged bundle is refused.

Skipped unless node, npm and chromium are installed; `make test-web` fails instead.
`PERCEIVER_WEB_PICTURES` is a folder that keeps the screenshots.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import perceiver_runtime as pr

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "tools"))

import web_site  # noqa: E402

MISSING = [name for name in ("node", "npm", "chromium") if shutil.which(name) is None]
REQUIRED = "PERCEIVER_WEB" in os.environ
WITHIN = 1e-3  # of Python's answers, in pixels or as probabilities
FIELDS = "Zoë 🙂 [MASK] möchte 12,50 € bis 14:30 am 2027-03-05, mail anna@example.org"  # more bytes than characters
SAMPLES = ROOT / "samples"
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        bool(MISSING) and not REQUIRED, reason=f"the page's test needs {', '.join(MISSING)}, not installed here"
    ),
]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the driver saw."""
    if MISSING:
        pytest.fail(f"make test-web needs {', '.join(MISSING)}: install Node.js with npm, and Debian's package chromium")
    pictures = os.environ.get("PERCEIVER_WEB_PICTURES") or tmp_path_factory.mktemp("pictures")
    with web_site.server(web_site.build()) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            address = f"http://localhost:{server.server_port}/"
            driver = ROOT / "tests" / "web_driver.mjs"
            library = web_site.package("playwright-core@1.65.1")
            command = ["node", driver, library, shutil.which("chromium") or "", address, SAMPLES, pictures]
            environment = {**os.environ, "FIELDS_TEXT": FIELDS}
            done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
        finally:
            server.shutdown()
            thread.join()
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_flow_is_pythons(seen: dict[str, Any]) -> None:
    """The samples are larger than a tile: tiles, their blending and every query position are in it."""
    with pr.load(web_site.BUILD / "bundles" / "flow", device="cpu") as flow:
        expected = np.asarray(flow(SAMPLES / "frame1.png", SAMPLES / "frame2.png"))
        swapped = np.asarray(flow(SAMPLES / "frame2.png", SAMPLES / "frame1.png"))
    found = np.array(seen["flow"]["answer"]["flow"]).reshape(expected.shape)
    assert np.abs(found - expected).max() < WITHIN
    assert np.abs(found - swapped).max() > 100 * WITHIN


def test_a_picture_of_a_digit_is_read_as_python_reads_it(seen: dict[str, Any]) -> None:
    with pr.load(web_site.BUILD / "bundles" / "image-classification", device="cpu") as classify:
        expected = {each.label: each.probability for each in classify(SAMPLES / "three.png", top_k=10)}
        other = {each.label: each.probability for each in classify(SAMPLES / "seven.png", top_k=10)}
    found = {each["label"]: each["probability"] for each in seen["digit"]["answer"]["labels"]}
    assert found == pytest.approx(expected, abs=WITHIN)
    assert found != pytest.approx(other, abs=WITHIN)


def test_masked_bytes_are_pythons(seen: dict[str, Any]) -> None:
    text = "a small boat with a s[MASK]il"
    mlm: Any
    with pr.load(web_site.BUILD / "bundles" / "fill-mask", device="cpu") as mlm:
        filled, best = mlm.fill(text), mlm(text, top_k=1)[0].candidates[0]
    assert seen["text"]["answer"]["filled"] == filled
    piece = seen["text"]["answer"]["pieces"][0]
    assert piece["text"] == best.text
    assert piece["probability"] == pytest.approx(best.probability, abs=WITHIN)


def test_fields_are_pythons(seen: dict[str, Any]) -> None:
    text = "Call Anna on +49 30 1234567 before 5 pm on 3 March 2027: 2.5 kg for €12.50"
    label: Any
    with pr.load(web_site.BUILD / "bundles" / "token-classification", device="cpu") as label:
        expected = [[span.to_dict() for span in label(each)] for each in (text, FIELDS)]
    assert all(expected)
    for found, wanted in zip((seen["fields"], seen["fieldsOther"]), expected):
        spans = found["answer"]["spans"]
        assert [[span[key] for key in ("label", "text", "start", "end")] for span in spans] == [
            [own[key] for key in ("label", "text", "start", "end")] for own in wanted
        ]
        assert [span["score"] for span in spans] == pytest.approx([own["score"] for own in wanted], abs=WITHIN)
    assert f"{expected[0][0]['text']} {expected[0][0]['label']}" in seen["marked"]


def test_a_sound_is_heard_as_python_hears_it(seen: dict[str, Any]) -> None:
    """Five seconds: the mean over five windows. Chromium's stand-in for a microphone beeps."""
    classify: Any
    with pr.load(web_site.BUILD / "bundles" / "audio-classification", device="cpu") as classify:
        parts = [part.labels[0].label for part in classify.details(web_site.SOUND).windows]
        whole = {each.label: each.probability for each in classify(web_site.SOUND, top_k=11)}
        samples, rate = pr.read_wav(web_site.SOUND)
        begin = {each.label: each.probability for each in classify(samples[:rate], top_k=11)}
    found = {each["label"]: each["probability"] for each in seen["sound"]["answer"]["labels"]}
    assert found == pytest.approx(whole, abs=WITHIN)
    assert found != pytest.approx(begin, abs=WITHIN)
    assert [part.partition(" (")[0] for part in seen["spoken"].split(", ")] == parts
    assert len(seen["recorded"]["answer"]["labels"]) == 11
    assert seen["noSound"]["refused"] == "this file is no sound that the browser reads: give WAV, MP3 or Ogg"
    assert seen["noMicrophone"]["refused"] == "the microphone cannot be used: Permission denied"


def test_a_stroke_on_the_pad_is_a_one(seen: dict[str, Any]) -> None:
    assert seen["drawn"]["answer"]["labels"][0]["label"] == "1"


def test_the_camera_s_frames(seen: dict[str, Any]) -> None:
    """Chromium's stand-in for a camera, which films something that moves: pair after pair until it is stopped."""
    fields = [np.array(each["answer"]["flow"]).reshape(96, 128, 2) for each in seen["camera"]]
    assert all(np.isfinite(field).all() for field in fields)
    assert not np.array_equal(fields[0], fields[1])
    assert seen["cameraPressed"] == "false"
    assert seen["noCamera"]["refused"] == "the camera cannot be used: Permission denied"


def test_a_damaged_file_is_refused_by_name_and_not_cached(seen: dict[str, Any]) -> None:
    assert seen["damaged"]["refused"].startswith("weights.safetensors is damaged")
    assert seen["cached"]
    assert not any("weights" in address for address in seen["cached"])


def test_a_known_answer_that_is_wrong_is_refused(seen: dict[str, Any]) -> None:
    """The driver makes one output of the engine wrong by 0.1, above the tolerance."""
    assert "is off by" in seen["wrong"]["refused"]
    assert "nothing was run" in seen["wrong"]["refused"]


def test_the_page_has_threads_and_fits_a_phone(seen: dict[str, Any]) -> None:
    assert seen["isolated"]
    assert "WebAssembly" in seen["flow"]["backend"]
    assert seen["overflow"] <= 0


def test_the_modules_types_fit() -> None:
    """tsc reads the JSDoc of every module; a call that does not fit them is an error."""
    if MISSING:
        pytest.fail(f"make test-web needs {', '.join(MISSING)}: install Node.js with npm, and Debian's package chromium")
    compiler = web_site.package("typescript@5.9.3") / "lib" / "tsc.js"
    done = subprocess.run(["node", compiler, "-p", ROOT / "web" / "jsconfig.json"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
