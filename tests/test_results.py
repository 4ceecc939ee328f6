"""Results go somewhere: JSON that any program reads, a short repr, and in notebooks a table, a picture, coloured text."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from shipped_tasks import TASKS

import perceiver_runtime as pr
from perceiver_runtime.bundle.reader import open_bundle
from perceiver_runtime.common.plain import plain
from perceiver_runtime.common.terminal import json_text
from perceiver_runtime.files.pictures.png import encode_png
from perceiver_runtime.tasks.fill_mask.spans import Candidate, MaskedSpan, MaskedSpans
from perceiver_runtime.tasks.flow.field import as_field
from perceiver_runtime.tasks.known_answer import FILE, Sample
from perceiver_runtime.tasks.labels import LabelScore, LabelScores
from perceiver_runtime.tasks.loading import check_task


@pytest.mark.parametrize("task", TASKS)
def test_every_task_s_result_is_json(task: str, shipped: Callable[..., Path]) -> None:
    bundle = open_bundle(shipped(task))
    found = check_task(bundle, None)
    item = found.kind(bundle.manifest).from_sample(Sample.read(bundle.read(FILE)).inputs)
    with pr.load(shipped(task)) as pipeline:
        result = pipeline(item) if found.batched else pipeline(*item)
    read = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert read
    assert json.loads(json_text(result)) == read == plain(result)
    assert len(repr(result)) < 1000
    again = pickle.loads(pickle.dumps(result))
    assert type(again) is type(result)
    assert plain(again) == read


def test_plain() -> None:
    value = {1: [np.float32(0.5), float("nan"), np.int64(3)], "a": (np.array([1.0, np.inf]), Path("x"), None, True)}
    assert plain(value) == {"1": [0.5, None, 3], "a": [[1.0, None], "x", None, True]}
    assert plain(LabelScore("a", float("inf"))) == {"label": "a", "probability": None}


def test_labels_as_a_table() -> None:
    labels = LabelScores([LabelScore("<b>cat</b>", 0.9), LabelScore("dog", 0.1)])
    assert labels == [LabelScore("<b>cat</b>", 0.9), LabelScore("dog", 0.1)]
    assert labels.to_dict()["labels"][1] == {"label": "dog", "probability": 0.1}
    html = labels._repr_html_()
    assert "&lt;b&gt;cat&lt;/b&gt;</td><td>0.9" in html
    assert "<b>" not in html


def test_spans_in_their_text() -> None:
    spans = [MaskedSpan(1, 3, (Candidate("<i>", 0.75), Candidate('"', 0.1))), MaskedSpan(5, 6, (Candidate("y", 0.0),))]
    found = MaskedSpans(spans, ["a", "& ", ""])
    assert found == spans
    assert found.filled == "a<i>& y"
    assert found.to_dict()["spans"][0]["candidates"][0] == {"text": "<i>", "probability": 0.75}
    html = found._repr_html_()
    assert html.startswith('<span style="white-space: pre-wrap">a<mark style="background: rgba(255, 170, 0, 0.79)"')
    assert ">&lt;i&gt;</mark>&amp; <mark" in html
    assert "<i>" not in html


def test_spans_fill_the_text(shipped: Callable[..., Path]) -> None:
    with pr.load(shipped("fill-mask")) as mlm:
        for text in ("a small[MASK*5]", "[MASK]grün [MASK*2]東", "[MASK]"):
            assert mlm(text).filled == mlm.fill(text)
            assert mlm([text], beams=5)[0].filled.startswith(text.partition("[")[0])


def test_a_field_is_an_array_and_a_picture() -> None:
    array = np.random.default_rng(0).standard_normal((4, 6, 2)).astype(np.float32)
    field = as_field(array)
    assert isinstance(field, np.ndarray)
    assert repr(field).startswith("FlowField(6x4, mean motion (")
    with Image.open(io.BytesIO(field._repr_png_() or b"")) as picture:
        assert np.array_equal(np.asarray(picture), pr.flow_to_image(array))
    for part in (field[..., 0], field + 1, np.abs(field), field[0]):
        assert type(part) is np.ndarray
    assert isinstance(field.mean(), np.floating)
    assert type(field.max()) is np.float32
    assert np.array_equal(field[1:, :, 1], array[1:, :, 1])
    turned = field.transpose(2, 0, 1)
    assert turned._repr_png_() is None  # type: ignore[attr-defined]
    assert plain(turned) == {"values": array.transpose(2, 0, 1).tolist()}
    assert field.to_dict()["max_length"] == pytest.approx(np.hypot(array[..., 0], array[..., 1]).max())


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_is_a_png(dtype: Any, tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (5, 7, 3), endpoint=True).astype(dtype)
    with Image.open(io.BytesIO(encode_png(image))) as read:
        read.load()
        expected = image if dtype == np.uint8 else (image >> 8).astype(np.uint8)
        assert np.array_equal(np.asarray(read.convert("RGB")), expected)
