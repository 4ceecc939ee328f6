"""What pages suppose a reader has: files in the current folder, and variables of their Python."""

from __future__ import annotations

import json
import wave
from pathlib import Path

import numpy as np
from PIL import Image
from videos import encode, photographs, tone

import perceiver_runtime as pr

SMALL = (96, 128)  # one tile of flow-small


def nothing() -> dict[str, object]:
    """The samples and the bundles are enough."""
    return {}


def for_video() -> dict[str, object]:
    """Of a smaller clip than the sample, which would take minutes."""
    frames = photographs(12, *SMALL)
    encode(Path("samples/clip.mp4"), frames, rate=24, sound=tone(8000, 0.5))
    for number in (1, 2):
        Image.fromarray(frames[number]).save(f"samples/frame{number}.png")
    frames_folder(frames[:3])
    Path("points.csv").write_text("x,y\n20,24\n33,40\n")
    return {"camera": list(frames[:3])}


def for_jobs() -> dict[str, object]:
    """A table of each kind, a row or two each."""
    frames = photographs(3, *SMALL)
    frames_folder(frames)
    for number in (1, 2):
        Image.fromarray(frames[number]).save(f"samples/frame{number}.png")
    Path("list.txt").write_text("samples/three.png\nsamples/seven.png\n")
    for name, task in {"sentiment": "text-classification", "language": "fill-mask", "ner": "token-classification"}.items():
        Path(name).symlink_to(Path(task).resolve())
    Path("commands").symlink_to(Path("audio-classification").resolve())
    Path("digits-int8").symlink_to(Path("digits").resolve())
    for digit, name in {"3": "three", "7": "seven"}.items():
        folder = Path("my-digits", digit)
        folder.mkdir(parents=True)
        (folder / f"{name}.png").write_bytes(Path("samples", f"{name}.png").read_bytes())
    label = json.loads(Path("sentiment/labels.json").read_text(encoding="utf-8"))[0]
    Path("reviews.csv").write_text(f'text,label\na small brown bird,"{label}"\n')
    Path("masked.csv").write_text("text,answer\na small boat that is moved[MASK*3] oars, by\n")
    phone = json.dumps([{"start": 5, "end": 19, "label": "PHONE"}]).replace('"', '""')
    Path("spans.csv").write_text(f'text,spans\ncall +49 30 1234567 at 5 pm,"{phone}"\n')
    still = np.zeros((*SMALL, 2), np.float32)
    pr.write_flo("still.flo", still)
    Path("pairs.csv").write_text("frame1,frame2,flow\nsamples/frame1.png,samples/frame2.png,still.flo\n")
    for folder in ("image_2", "flow_occ"):
        Path("kitti/training", folder).mkdir(parents=True)
    pr.write_kitti_flow("kitti/training/flow_occ/000000_10.png", still)
    for number in (0, 1):
        Image.fromarray(frames[number]).save(f"kitti/training/image_2/000000_1{number}.png")
    Path("sounds/stop").mkdir(parents=True)
    with wave.open("sounds/stop/one.wav", "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes((tone(16000, 1.0) * 32767).astype("<i2").tobytes())
    return {}


def frames_folder(frames: np.ndarray) -> None:
    """`frames/frame_0000.png` and on."""
    Path("frames").mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(f"frames/frame_{number:04d}.png")


GIVEN = {"docs/video.md": for_video, "docs/jobs.md": for_jobs}
