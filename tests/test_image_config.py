"""Processor files against transformers' processors of that class on Pillow."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skimage import data
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.perceiver.image_processing_pil_perceiver import PerceiverImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from perceiver_deploy.image_config import read_processor
from perceiver_runtime import InputError

KINDS = {"Perceiver": PerceiverImageProcessorPil, "ViT": ViTImageProcessorPil, "CLIP": CLIPImageProcessorPil}
CASES: list[tuple[str, dict[str, Any]]] = [
    ("Perceiver", {}),
    ("Perceiver", {"do_rescale": False}),
    ("Perceiver", {"rescale_factor": 1 / 127.5, "image_mean": 1.0, "image_std": 1.0}),
    ("Perceiver", {"resample": 0}),
    ("Perceiver", {"resample": 2}),
    ("Perceiver", {"crop_size": 300}),
    ("Perceiver", {"size": 256, "crop_size": 224}),
    ("Perceiver", {"do_center_crop": False, "size": {"height": 64, "width": 48}}),
    ("Perceiver", {"do_normalize": False}),
    ("ViT", {}),
    ("ViT", {"size": 64, "do_center_crop": True, "crop_size": 80}),
    ("CLIP", {}),
    ("CLIP", {"size": 100, "crop_size": {"height": 64, "width": 90}, "resample": 5}),
    ("CLIP", {"do_resize": False, "crop_size": 150}),
]


@pytest.mark.parametrize(("kind", "values"), CASES)
def test_pixels_are_transformers_s(kind: str, values: dict[str, Any]) -> None:
    file = {"image_processor_type": f"{kind}ImageProcessor", **values}
    processor = read_processor(Path("x"), file, 3, (9, 9))
    for image in (data.chelsea(), data.coffee()[:, :211]):
        expected = KINDS[kind](**values)(image, return_tensors="np")["pixel_values"][0]
        found = processor(image)
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() <= 1e-5
        assert np.abs(found[:, ::-1] - expected).max() > 0.1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image_processor_type": "DonutImageProcessor"}, "DonutImageProcessor is none of"),
        ({"size": {"longest_edge": 9}}, "size is {'longest_edge': 9}"),
        ({"do_resize": False}, "needs do_resize"),
        ({"do_normalize": "false"}, "do_normalize is 'false', not true or false"),
        ({"resample": "bicubic"}, "resample is 'bicubic', not 0 to 5"),
        ({"do_pad": True}, "do_pad is true"),
        ({"image_mean": [1, 2]}, r"image_mean is \[1, 2\], expected 3 numbers"),
    ],
)
def test_refused_by_name(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_processor(Path("x"), values, 3, (9, 9))
