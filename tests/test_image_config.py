"""Processor files against transformers' processors of that class on Pillow."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from heads import HEADS, save_random_head
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from skimage import data
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.perceiver.image_processing_pil_perceiver import PerceiverImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from perceiver_deploy import export_bundle
from perceiver_deploy.cli import main
from perceiver_deploy.tasks.image import ImageRecipe
from perceiver_deploy.tasks.image_config import read_processor
from perceiver_deploy.tasks.recipe import ExportOptions
from perceiver_io.config_json import ConfigError
from perceiver_io.loading.huggingface import model_config
from perceiver_runtime import InputError, UsageError

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


SIDES = st.integers(8, 70)
SIZES = st.one_of(
    SIDES,
    st.fixed_dictionaries({"height": SIDES, "width": SIDES}),
    st.fixed_dictionaries({"shortest_edge": SIDES}),
    st.fixed_dictionaries({"longest_edge": SIDES}),
    st.fixed_dictionaries({"shortest_edge": SIDES, "longest_edge": SIDES}),
    st.sampled_from([{}, None, 0, -3, "64", [64, 64], 1.5]),
)
FLAGS = st.one_of(st.booleans(), st.booleans(), st.booleans(), st.sampled_from([None, 0, "yes"]))
STATISTICS = st.one_of(
    st.floats(0.1, 0.9), st.lists(st.floats(0.1, 0.9), min_size=3, max_size=3), st.sampled_from([None, [], [0.5], "0.5"])
)
FILES = st.fixed_dictionaries(
    {},
    optional={
        "do_resize": FLAGS,
        "size": SIZES,
        "resample": st.one_of(st.integers(0, 5), st.sampled_from([None, -1, 6, "bicubic", 2.0])),
        "do_center_crop": FLAGS,
        "crop_size": SIZES,
        "do_rescale": FLAGS,
        "rescale_factor": st.sampled_from([1 / 255, 1 / 127.5, 1.0, 0, None, "1/255"]),
        "do_normalize": FLAGS,
        "image_mean": STATISTICS,
        "image_std": STATISTICS,
        "do_convert_rgb": FLAGS,
        "something_new": st.just(True),
    },
)
seen = {"equal": 0, "refused": 0}


@settings(max_examples=250, deadline=None, database=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(kind=st.sampled_from(sorted(KINDS)), values=FILES, tall=st.booleans())
def check_any_file(kind: str, values: dict[str, Any], tall: bool) -> None:
    """Whatever a file says: transformers' pixels, or a refusal."""
    image = data.chelsea()[:90, :61] if tall else data.chelsea()[40:97, :133]
    try:
        processor = read_processor(Path("x"), {"image_processor_type": f"{kind}ImageProcessor", **values}, 3, (9, 9))
        found = processor(image)
    except InputError:
        seen["refused"] += 1
        return
    expected = KINDS[kind](**values)(image, return_tensors="np")["pixel_values"][0]
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-5 * max(1.0, float(np.abs(expected).max()))
    seen["equal"] += 1


def test_any_file() -> None:
    check_any_file()
    assert min(seen.values()) > 30, seen


def test_a_processor_file_with_the_image_processor_inside(tmp_path: Path) -> None:
    """transformers reads it there first."""
    (tmp_path / "preprocessor_config.json").write_text('{"size": 64}')
    (tmp_path / "processor_config.json").write_text('{"processor_class": "P", "image_processor": {"size": 80}}')
    assert recipe(tmp_path).preprocessor == PerceiverImageProcessorPil.get_image_processor_dict(tmp_path)[0] == {"size": 80}
    (tmp_path / "processor_config.json").write_text('{"processor_class": "P"}')
    assert recipe(tmp_path).preprocessor == PerceiverImageProcessorPil.get_image_processor_dict(tmp_path)[0] == {"size": 64}
    (tmp_path / "processor_config.json").write_text('{"image_processor": []}')
    with pytest.raises(InputError, match=r"processor_config.json cannot be used \(its image_processor is no JSON object"):
        assert recipe(tmp_path).preprocessor


def recipe(folder: Path) -> ImageRecipe:
    return ImageRecipe(None, ExportOptions(), folder)


def test_without_a_file_the_export_says_what_it_assumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As of a model that was trained at 64x64."""
    config = next(head.tiny for head in HEADS if head.name == "PerceiverForImageClassificationLearned") | {"image_size": 64}
    save_random_head(tmp_path / "saved", "PerceiverForImageClassificationLearned", config)
    capsys.readouterr()
    assert main(["--checkpoint", str(tmp_path / "saved"), "-o", str(tmp_path / "bundle")]) == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "preprocessor_config.json" in line]
    assert "no preprocessor_config.json: assumed the middle 87.7% of a picture, resized to 64x64, minus 0.485, 0.456" in line
    PerceiverImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(tmp_path / "saved")
    assert main(["--checkpoint", str(tmp_path / "saved"), "-o", str(tmp_path / "again")]) == 0
    assert "preprocessor_config.json" not in capsys.readouterr().err


@pytest.mark.parametrize("size", [True, 1.5, "64", [64, 64]])
@pytest.mark.parametrize("kind", ["Learned", "Fourier", "ConvProcessing"])
def test_image_size_is_a_whole_number(kind: str, size: Any) -> None:
    name = f"PerceiverForImageClassification{kind}"
    config = next(head.tiny for head in HEADS if head.name == name) | {"image_size": size, "architectures": [name]}
    with pytest.raises(ConfigError, match=r"image_size is .*, expected a whole number"):
        model_config(config, [])


@pytest.mark.parametrize("size", [64, "64", True, 1.5, (64,), (64, 64.0), (True, 64), (0, 64), (64, 10**6), "ab"])
def test_image_sizes_of_calls(size: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="image_size is "):
        export_bundle(task="image-classification", output=tmp_path / "bundle", image_size=size)
    with pytest.raises(InputError, match=r"the size is .*: give height and width"):
        read_processor(Path("x"), {}, 3, (64, 64)).resized(size)
