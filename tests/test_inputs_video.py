"""Video files and pictures in every form, through streams, pairs, tables and map: one answer, however given."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from published import real_frames
from videos import encode, photographs, tone

import perceiver_runtime as pr
from perceiver_runtime.commands.main import main
from perceiver_runtime.ray import BundleRows

FIRST, SECOND = real_frames(40, 56)


def column(*values: Any) -> np.ndarray:
    found = np.empty(len(values), object)
    found[:] = values
    return found


def test_pairs_and_streams_take_every_picture(small_bundle: Path, tmp_path: Path) -> None:
    Image.fromarray(FIRST).save(tmp_path / "a.png")
    second = (tmp_path / "b.png", Image.fromarray(SECOND))
    second[1].save(second[0])
    points = np.array([[3, 4], [50, 20]])
    with pr.load(small_bundle) as flow:
        expected = flow(FIRST, SECOND)
        pair = flow.encode(tmp_path / "a.png", second[0].read_bytes())
        for field in (pair.field(), pair.field(), next(flow.stream([str(tmp_path / "a.png"), second[1]]))):
            assert isinstance(field, pr.FlowField)
            assert np.array_equal(field, expected)
        motion = pair.at(points)
        assert type(motion) is np.ndarray
        assert np.array_equal(motion, expected[points[:, 1], points[:, 0]])
        tracked = [list(flow.track(frames, points)) for frames in ([FIRST, SECOND], [tmp_path / "a.png", second[1]])]
        assert np.array_equal(tracked[0][1].positions, tracked[1][1].positions, equal_nan=True)
        with pytest.raises(pr.InputError, match="frame 1 is a int: give a path"):
            list(flow.stream([FIRST, 7]))


def test_deep_pictures_have_one_scale_for_both(small_bundle: Path) -> None:
    """The second is so dark that, alone, it would be scaled by fewer bits."""
    deep = [Image.fromarray((frame[..., 0].astype(np.uint16) * 16) // part) for frame, part in ((FIRST, 1), (SECOND, 5))]
    with pr.load(small_bundle) as flow:
        by_itself = flow(*(np.asarray(pr.read_image(each)) for each in deep))
        expected = flow(*pr.files.images.read_images(deep))
        assert not np.allclose(by_itself, expected, atol=0.1)
        for field in (flow(*deep), flow.encode(*deep).field(), next(flow.stream(deep))):
            assert np.array_equal(field, expected)


def test_a_video_file_is_a_clip_everywhere(shipped: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle, folder = shipped("multimodal"), tmp_path / "clips"
    folder.mkdir()
    encode(folder / "long.mp4", photographs(20), sound=tone(16000, 0.8), sound_rate=16000)  # a window and a quarter
    encode(folder / "short.mp4", photographs(6))
    assert main(["run", str(bundle), str(folder / "long.mp4"), "--json"]) == 0
    whole = json.loads(capsys.readouterr().out)
    assert len(whole["windows"]) == 2
    assert main(["run", str(bundle), str(folder), "--jsonl", str(tmp_path / "o.jsonl"), "--json"]) == 0
    lines = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [Path(line["input"]).name for line in lines] == ["long.mp4", "short.mp4"]
    assert lines[0]["labels"] == whole["labels"]
    with pr.load(bundle) as autoencode:
        labels = autoencode.labels(folder / "long.mp4")
        assert labels.to_dict()["labels"] == whole["labels"]
        silent = autoencode.labels(folder / "long.mp4", np.zeros(100, np.float32))
        assert silent != labels  # its own sound was heard
        short, long = autoencode.map([(folder / "short.mp4", None), (folder / "long.mp4", None)], on_error="return")
        assert short.labels.to_dict()["labels"] == lines[1]["labels"]
        assert "long.mp4 is longer than the 16 frames that the model takes at once" in str(long)
    rows = BundleRows(bundle)({"video": column(str(folder / "long.mp4"), "gone.mp4")})
    assert rows["label"][0] == whole["labels"][0]["label"]
    assert rows["probability"][0] == pytest.approx(whole["labels"][0]["probability"])
    assert "there is no clip gone.mp4" in rows["error"][1]
