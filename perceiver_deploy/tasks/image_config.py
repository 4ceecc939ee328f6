"""A checkpoint's image processor file, of any class whose steps the runtime has, as transformers 5 reads it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perceiver_runtime import InputError, IntegrityError
from perceiver_runtime.processing.image import ImageProcessor
from perceiver_runtime.processing.resize import BICUBIC

_IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
_HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
_CLIP = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "size": {"shortest_edge": 224},
    "crop_size": 224,
    "do_center_crop": True,
    "default_to_square": False,
}
_COMMON = {
    "do_resize": True,
    "do_rescale": True,
    "do_normalize": True,
    "rescale_factor": 1 / 255,
    "resample": BICUBIC,
    "size": 224,
    "default_to_square": True,
}
PERCEIVER = "PerceiverImageProcessor"
# What each class takes where the file says nothing.
CLASSES: Mapping[str, dict[str, Any]] = {
    PERCEIVER: {**_IMAGENET, "crop_size": 256, "do_center_crop": True},
    "ViTImageProcessor": {**_HALF, "resample": 2},
    "PvtImageProcessor": _IMAGENET,
    "SiglipImageProcessor": {**_HALF, "size": {"height": 224, "width": 224}, "default_to_square": False},
    "DeiTImageProcessor": {**_HALF, "size": 256, "crop_size": 224, "do_center_crop": True},
    "BlipImageProcessor": {**_CLIP, "size": 384, "crop_size": None, "do_center_crop": False, "default_to_square": True},
    "CLIPImageProcessor": _CLIP,
    "ChineseCLIPImageProcessor": _CLIP,
    "BitImageProcessor": _CLIP,
}
_FLAGS = ("do_resize", "do_rescale", "do_normalize", "do_center_crop", "do_pad", "default_to_square")


def read_processor(folder: Path, found: Mapping[str, Any], channels: int, own: tuple[int, int]) -> ImageProcessor:
    """The processor that the file `found` describes; without one DeepMind's for the model's `own` size.

    Raises `InputError` that names the key which cannot be honoured.
    """
    if not found:
        mean, std = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)) if channels == 3 else ((0.5,) * channels,) * 2
        return ImageProcessor(own, (round(own[0] * 256 / 224), round(own[1] * 256 / 224)), mean, std)
    try:
        return _read(found, channels)
    except (InputError, IntegrityError, TypeError, ValueError, OverflowError) as error:
        file = folder / "preprocessor_config.json"
        raise InputError(f"{file} cannot be used ({error}): correct it, or remove it for DeepMind's constants") from error


def assumed(processor: ImageProcessor) -> str:
    """What `read_processor` takes without a file, for people."""
    share = processor.size[0] / processor.crop[0]
    size = "x".join(map(str, processor.size))
    mean, std = (", ".join(f"{each:g}" for each in values) for values in (processor.mean, processor.std))
    return f"assumed the middle {share:.1%} of a picture, resized to {size}, minus {mean}, divided by {std}, as DeepMind's"


def _read(found: Mapping[str, Any], channels: int) -> ImageProcessor:
    kind = found.get("image_processor_type") or found.get("feature_extractor_type") or PERCEIVER
    if not isinstance(kind, str):
        raise InputError(f"image_processor_type is {kind!r}")
    kind = kind.replace("FeatureExtractor", "ImageProcessor").removesuffix("Fast").removesuffix("Pil")
    if kind not in CLASSES or found.get("auto_map"):
        raise InputError(f"{kind} is none of {', '.join(CLASSES)}, whose steps are known")
    values = {**_COMMON, **CLASSES[kind], **found}
    values |= {flag: False for flag in _FLAGS if values.get(flag) is None}  # null counts as false in transformers
    for flag in _FLAGS:
        if type(values.get(flag, False)) is not bool:
            raise InputError(f"{flag} is {values[flag]!r}, not true or false")
    if values["do_pad"]:
        raise InputError("do_pad is true, padding is not known")
    resample = values["resample"] if values["do_resize"] else BICUBIC
    if type(resample) is not int or not 0 <= resample <= 5:
        raise InputError(f"resample is {resample!r}, not 0 to 5")
    factor = values["rescale_factor"] if values["do_rescale"] else 1.0
    if type(factor) not in (int, float):
        raise InputError(f"rescale_factor is {factor!r}, not a number")
    mean, std = (_per_channel(key, values, channels) for key in ("image_mean", "image_std"))
    if not values["do_normalize"]:
        mean, std = (0.0,) * channels, (1.0,) * channels
    crop = _sides("crop_size", values.get("crop_size"), True) if values["do_center_crop"] else ()
    size = _sides("size", values["size"], values["default_to_square"]) if values["do_resize"] else ()
    resize: tuple[int, ...] | None = size
    final = crop
    if kind == PERCEIVER:
        if len(size) != 2:
            raise InputError("PerceiverImageProcessor needs do_resize, and a size of height and width")
        resize, final = None, size
    elif not crop:
        if len(size) != 2:
            raise InputError("images would not be of one size: give height and width, or do_center_crop with a crop_size")
        final = size
    share = crop if kind == PERCEIVER and crop else (0, 0)
    constants = ImageProcessor((final[0], final[1]), (share[0], share[1]), mean, std, resize, resample, float(factor))
    return ImageProcessor.from_json(constants.to_json())


def _per_channel(key: str, values: Mapping[str, Any], channels: int) -> tuple[float, ...]:
    value = values[key]
    given = value if isinstance(value, list) else [value] * channels
    if values["do_normalize"] and (len(given) != channels or not all(type(each) in (int, float) for each in given)):
        raise InputError(f"{key} is {value!r}, expected {channels} numbers")
    return tuple(float(each) for each in given) if values["do_normalize"] else ()


def _sides(key: str, value: Any, square: Any) -> tuple[int, ...]:
    """Height and width, or the shorter side alone."""
    sides = value
    if type(value) is int:
        sides = [value, value] if square else [value]
    elif isinstance(value, dict) and set(value) == {"height", "width"}:
        sides = [value["height"], value["width"]]
    elif isinstance(value, dict) and set(value) == {"shortest_edge"} and key == "size":
        sides = [value["shortest_edge"]]
    if not isinstance(sides, list) or not 1 <= len(sides) <= 2 or not all(type(side) is int and side > 0 for side in sides):
        raise InputError(f"{key} is {value!r}, expected whole pixels, a height and a width, or a shortest_edge")
    return tuple(sides)
