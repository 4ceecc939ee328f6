"""Image processing against Pillow and transformers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data
from transformers.models.perceiver.image_processing_pil_perceiver import PerceiverImageProcessorPil

from perceiver_runtime import InputError, IntegrityError
from perceiver_runtime.files.images import read_image
from perceiver_runtime.processing.image import ImageProcessor
from perceiver_runtime.processing.resize import resize

CONSTANTS: dict[str, Any] = {
    "size": [224, 224],
    "crop": [256, 256],
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
}
PROCESSOR = ImageProcessor.from_json(CONSTANTS)


@pytest.mark.parametrize("size", [(224, 224), (31, 57), (512, 300), (700, 1100), (1, 1), (2, 900)])
def test_resize_is_pillow_s(size: tuple[int, int]) -> None:
    image = data.coffee()  # 400x600
    expected = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC)).astype(int)
    found = resize(image, size)
    assert found.dtype == np.uint8
    assert np.array_equal(found, expected)
    nearest = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.NEAREST)).astype(int)
    assert size == (1, 1) or np.abs(nearest - expected).max() > 10


@pytest.mark.parametrize("resample", range(6))
def test_every_filter_to_the_last_bit(resample: int) -> None:
    """Also in the order of the two axes, which Pillow 13 chooses by how much each shrinks."""
    random = np.random.default_rng(resample)
    turned = 0
    for height, width, rows, columns in random.integers(1, 90, (150, 4)).tolist():
        image = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        expected = np.asarray(Image.fromarray(image).resize((columns, rows), resample))
        assert np.array_equal(resize(image, (rows, columns), resample), expected), (height, width, rows, columns)
        turned += not np.array_equal(resize(image.transpose(1, 0, 2), (columns, rows), resample).transpose(1, 0, 2), expected)
    assert turned > 10 or resample == 0


def test_resize_of_floats() -> None:
    plane = data.camera().astype(np.float32) / 255
    expected = np.asarray(Image.fromarray(plane, mode=None).resize((100, 180), Image.Resampling.BICUBIC))
    assert np.abs(resize(plane[..., None], (180, 100))[..., 0] - expected).max() <= 1e-5


@pytest.mark.parametrize("picture", ["astronaut", "chelsea", "coffee", "small", "tall"])
def test_processor_is_transformers_s(picture: str) -> None:
    cut = {"small": data.coffee()[:37, :50], "tall": data.coffee()[:, :61]}
    image = cut[picture] if picture in cut else getattr(data, picture)()
    expected = PerceiverImageProcessorPil()(image, return_tensors="np")["pixel_values"][0]
    found = PROCESSOR(image)
    assert np.abs(found - expected).max() <= 1e-5
    assert np.abs(found[:, ::-1] - expected).max() > 0.1


def test_floats_agree_with_bytes() -> None:
    image = data.chelsea()
    assert np.abs(PROCESSOR(image) - PROCESSOR(image.astype(np.float64) / 255)).max() <= 2.5 / 255 / 0.224


def test_grey_rgba_and_palette(tmp_path: Path) -> None:
    grey, colour = data.camera(), data.chelsea()
    assert np.array_equal(PROCESSOR(grey), PROCESSOR(np.repeat(grey[..., None], 3, axis=2)))
    transparent = np.concatenate([colour, np.full_like(colour[..., :1], 77)], axis=2)
    assert np.array_equal(PROCESSOR(transparent), PROCESSOR(colour))
    palette = Image.fromarray(colour).quantize(16)
    palette.save(tmp_path / "palette.png")
    assert np.array_equal(read_image(tmp_path / "palette.png"), np.asarray(palette.convert("RGB")))
    one = ImageProcessor.from_json({**CONSTANTS, "size": [28, 28], "crop": [0, 0], "mean": [0.5], "std": [0.5]})
    as_pillow = np.asarray(Image.fromarray(colour).convert("L").resize((28, 28), Image.Resampling.BICUBIC))
    assert one(colour).shape == (1, 28, 28)
    assert np.abs(one(colour)[0] - (as_pillow / 255 - 0.5) / 0.5).max() <= 2.1 / 255 / 0.5


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((1, 1, 3), np.uint8), "the image of 1x1 pixels is too small to crop: give at least 2x2"),
        (np.zeros((9, 9, 5), np.uint8), r"the image has shape \(9, 9, 5\), expected \(H, W, 3\)"),
        (np.zeros((9, 9, 2), np.uint8), r"has shape \(9, 9, 2\)"),
        (np.zeros((0, 9, 3), np.uint8), r"has shape \(0, 9, 3\)"),
        (np.full((9, 9, 3), np.nan), "float64 with values outside"),
        (np.full((9, 9, 3), 255.0), r"values outside \[0, 1\] or not finite: divide by 255"),
        (np.zeros((9, 9, 3), np.int32), "the image is int32, expected uint8"),
        ([[1]], r"the image is a list: give a path, .* or an array \(H, W, 3\)"),
    ],
)
def test_refusals(image: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        PROCESSOR(image)


@pytest.mark.parametrize(
    "change",
    [
        {"size": [0, 9]},
        {"size": [9999, 9]},
        {"size": [9]},
        {"size": [64.5, 64.5]},
        {"size": [True, True]},
        {"size": ["8", "8"]},
        {"size": {"height": 8}},
        {"mean": [0.5] * 4},
        {"mean": "x"},
        {"mean": [float("nan")] * 3},
        {"mean": [1e300] * 3},
        {"std": [0, 1, 1]},
        {"std": [1e-45, 1, 1]},
        {"std": [None, 1, 1]},
        {"std": [1]},
        {"crop": [-1, 4]},
        {"resize": [1, 2, 3]},
        {"resize": [0]},
        {"resize": [8.5]},
        {"resample": 99},
        {"resample": 2.0},
        {"scale": float("inf")},
        {"scale": "1"},
        {"another": 1},
    ],
)
def test_constants_that_make_no_sense(change: dict[str, Any]) -> None:
    (name,) = change
    with pytest.raises(IntegrityError, match=rf"manifest\.processor.*\b{name}\b"):
        ImageProcessor.from_json({**CONSTANTS, **change})
