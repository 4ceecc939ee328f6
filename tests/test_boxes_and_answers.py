"""Logits to boxes and to answers in texts: what transformers' own functions make of them."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers.models.deformable_detr.image_processing_pil_deformable_detr import DeformableDetrImageProcessorPil
from transformers.models.detr.image_processing_pil_detr import DetrImageProcessorPil
from transformers.pipelines.document_question_answering import select_starts_ends

import perceiver_runtime as pr
from perceiver_runtime.processing.heads.answers import Candidate, best_answers, merged
from perceiver_runtime.processing.heads.boxes import Region, clipped, find, region_seen
from perceiver_runtime.processing.image import ImageProcessor
from perceiver_runtime.tasks.labels import Labels
from perceiver_runtime.tasks.object_detection.objects import DetectedObject, DetectedObjects
from perceiver_runtime.tasks.object_detection.picture import color_of, draw_boxes

HEIGHT, WIDTH = 120, 200


def drawn(classes: int, seed: int = 0) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    logits = random.normal(scale=2, size=(20, classes)).astype(np.float32)
    return logits, random.uniform(0.05, 0.95, (20, 4)).astype(np.float32)


@pytest.mark.parametrize("problem", ["single_label", "multi_label"])
@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.9])
def test_boxes_are_those_of_transformers(problem: str, threshold: float) -> None:
    exclusive = problem == "single_label"
    logits, boxes = drawn(4 + exclusive)
    outputs = SimpleNamespace(logits=torch.from_numpy(logits)[None], pred_boxes=torch.from_numpy(boxes)[None])
    processor = (DetrImageProcessorPil if exclusive else DeformableDetrImageProcessorPil).__new__(
        DetrImageProcessorPil if exclusive else DeformableDetrImageProcessorPil
    )
    options = {} if exclusive else {"top_k": 100}
    expected = processor.post_process_object_detection(outputs, threshold, [(HEIGHT, WIDTH)], **options)[0]
    order = expected["scores"].argsort(descending=True, stable=True).numpy()
    labels = Labels(("a", "b", "c", "d"), problem)
    region = Region(0, 0, WIDTH, HEIGHT)
    found = find(labels.probabilities(logits), boxes, region, threshold, 100, exclusive=exclusive)
    np.testing.assert_allclose(found.scores, expected["scores"].numpy()[order], rtol=1e-5)
    assert found.labels.tolist() == expected["labels"].numpy()[order].tolist()
    np.testing.assert_allclose(found.boxes, expected["boxes"].numpy()[order], rtol=1e-5, atol=1e-3)
    if threshold == 0.1:
        assert len(order) > 10
        swapped = find(labels.probabilities(logits), boxes[:, [1, 0, 3, 2]], region, threshold, 100, exclusive=exclusive)
        assert np.abs(swapped.boxes - found.boxes).max() > 10  # the control: axes the other way around


def test_pixels_of_the_picture_through_a_crop() -> None:
    """A mark in the picture, where the model's input has it: the box is around the mark."""
    for size, crop in (((40, 60), (0, 0)), ((40, 40), (50, 50)), ((40, 64), (44, 64)), ((64, 40), (32, 32))):
        processor = ImageProcessor(size, crop, (0.0,) * 3, (1.0,) * 3)
        picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        picture[20:30, 120:136] = 255
        seen = processor(picture)[0] > 0.5
        rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
        low = np.array([columns[0] / size[1], rows[0] / size[0]])
        high = np.array([(columns[-1] + 1) / size[1], (rows[-1] + 1) / size[0]])
        box = np.concatenate([(low + high) / 2, high - low]).astype(np.float32)[None]
        region = region_seen(processor, HEIGHT, WIDTH)
        found = find(np.ones((1, 1), np.float32), box, region, 0.5, 1, exclusive=False).boxes[0]
        pixel = max(region.width / size[1], region.height / size[0])
        assert np.abs(found - [120, 20, 136, 30]).max() <= 1.5 * pixel, (size, crop)
    wrong = find(np.ones((1, 1), np.float32), box, Region(0, 0, WIDTH, HEIGHT), 0.5, 1, exclusive=False).boxes[0]
    assert np.abs(wrong - [120, 20, 136, 30]).max() > 6  # the control: the last crop left out
    assert clipped(np.array([[-5, 3, 300, 130]], np.float32), HEIGHT, WIDTH).tolist() == [[0, 3, 200, 120]]
    with pytest.raises(pr.IntegrityError, match="boxes cannot follow"):
        region_seen(ImageProcessor((40, 40), (0, 0), (0.0,) * 3, (1.0,) * 3, resize=(50,)), 9, 9)


def test_drawn_boxes() -> None:
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    cat = DetectedObject("cat\x1b", 0.9, (30.0, 40.0, 90.0, 100.0))
    objects = DetectedObjects([cat, DetectedObject("猫", 0.6, (0, 0, 9, 9))])
    found = draw_boxes(picture, objects)
    assert found[70, 30].tolist() == found[100, 60].tolist() == list(color_of("cat\x1b"))
    assert not found[70, 60].any()
    assert not picture.any()
    np.testing.assert_array_equal(draw_boxes(picture[..., 0] / 255.0, objects), found)


@pytest.mark.parametrize(("top_k", "longest"), [(1, 15), (3, 15), (5, 4)])
def test_answers_are_those_of_transformers(top_k: int, longest: int) -> None:
    content = b"Anna lives in Berlin, Bo in Rome, and nobody at all in Paris."
    for seed in range(8):
        logits = np.random.default_rng(seed).normal(scale=3, size=(len(content) + 9, 2)).astype(np.float32)
        first = 8  # [CLS], six bytes of a question, [SEP]
        hidden = np.ones(len(logits), int)  # 1 where no answer may be
        hidden[0] = hidden[first : first + len(content)] = 0
        start, end = logits.T.astype(np.float64)
        masks = {"p_mask": hidden[None], "attention_mask": np.ones_like(hidden)[None]}
        starts, ends, scores, none = select_starts_ends(
            start[None], end[None], **masks, top_k=top_k, max_answer_len=longest, handle_impossible_answer=True
        )
        found = best_answers(logits[first : first + len(content)], logits[0], content, top_k, longest)
        assert [(each.start + first, each.end + first - 1) for each in found.best] == list(zip(starts, ends))
        np.testing.assert_allclose([each.score for each in found.best], scores, rtol=1e-6)
        assert found.none == pytest.approx(none, rel=1e-6)
        turned = best_answers(logits[first : first + len(content), ::-1], logits[0], content, top_k, longest)
        assert turned.best != found.best  # the control


def test_answers_are_whole_characters_and_count_once() -> None:
    content = "é東".encode()
    logits = np.zeros((5, 2), np.float32)
    logits[1, 0] = logits[2, 1] = 9  # inside é and 東
    found = best_answers(logits, np.zeros(2, np.float32), content, 9, 9).best
    assert {(each.start, each.end) for each in found} == {(0, 2), (0, 5), (2, 5)}
    one = best_answers(logits, np.zeros(2, np.float32), content, 1, 9)
    other = one._replace(best=[one.best[0]._replace(start=one.best[0].start - 0, score=0.5)])
    both = merged([(0, one), (0, other)], 5)
    assert both.best == [Candidate(one.best[0].start, one.best[0].end, max(one.best[0].score, 0.5))]
