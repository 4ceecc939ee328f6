"""Exporting image classification."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from perceiver_deploy.pictures import sample_frames
from perceiver_deploy.recipe import Answer, Case, Graphs, Inputs, Recipe, agreement, rows, shape_text
from perceiver_export.image import SMALLEST
from perceiver_runtime import InputError
from perceiver_runtime.image_processing import ImageProcessor, with_channels
from perceiver_runtime.known_answer import Sample
from perceiver_runtime.manifest import Range
from perceiver_runtime.onnx_backend import OnnxGraph

LARGEST, ODD = 1024, (61, 83)
KNOWN_ANSWER_SIZE = (120, 180)
PREPROCESSOR_FILE = "preprocessor_config.json"
_IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
_CROP_SHARE = 224 / 256


class ImageRecipe(Recipe):
    """An image to labels."""

    usage = "image.png"

    @property
    def size(self) -> tuple[int, int]:
        """Height and width that images are resized to."""
        chosen: tuple[int, int] = self.options.image_size or self.config.image.size
        return chosen

    def graph_options(self) -> dict[str, Any]:
        """Learned positions are made for one size."""
        return super().graph_options() | {"image_size": self.options.image_size}

    def ranges(self) -> dict[str, Range]:
        """The sizes that the graphs are meant for."""
        return {"B": Range(1, 64), "H": Range(SMALLEST, LARGEST), "W": Range(SMALLEST, LARGEST)}

    def processor(self) -> dict[str, Any]:
        """The constants that perceiver_runtime.image_processing.ImageProcessor reads.

        From the checkpoint's preprocessor_config.json where it has one, else DeepMind's.
        """
        height, width = self.size
        channels = self.config.image.image_channels
        crop = [round(height / _CROP_SHARE), round(width / _CROP_SHARE)]
        constants: dict[str, Any] = {"size": [height, width], "crop": crop, "problem": self.config.problem}
        constants |= _IMAGENET if channels == 3 else {"mean": [0.5] * channels, "std": [0.5] * channels}
        file = self.folder / PREPROCESSOR_FILE
        if not file.is_file():
            return constants
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            if found.get("image_mean") and found.get("do_normalize", True):
                constants |= {"mean": list(found["image_mean"]), "std": list(found["image_std"])}
            if not found.get("do_normalize", True):
                constants |= {"mean": [0.0] * channels, "std": [1.0] * channels}
            if not found.get("do_center_crop", True):
                constants["crop"] = [0, 0]
            elif "crop_size" in found and "size" in found:
                share = [_side(found["size"], side) / _side(found["crop_size"], side) for side in ("height", "width")]
                constants["crop"] = [round(height / share[0]), round(width / share[1])]
            ImageProcessor.from_json(constants)
        except Exception as error:
            raise InputError(f"{file} cannot be used ({error}): correct it, or remove it for DeepMind's constants") from error
        return constants

    def cases(self) -> Iterator[Case]:
        """Two images alone of the model's size, with Fourier positions also of the smallest; three together, of an odd one."""
        yield self._alone(self.size)
        odd = self.size
        if self.config.image.positions == "fourier":
            step = self.config.image.downsample
            yield self._alone((SMALLEST * step, SMALLEST * step))
            odd = ODD[0] // step * step, ODD[1] // step * step
        batch = self._images(odd)
        yield Case(shape_text({"pixel_values": batch}), ({"pixel_values": batch},))

    def _alone(self, size: tuple[int, int]) -> Case:
        runs = tuple({"pixel_values": image[None]} for image in self._images(size)[:2])
        return Case(f"{shape_text(runs[0])}, twice", runs)

    def _images(self, size: tuple[int, int]) -> NDArray[np.float32]:
        """Three different images, (3, channels, height, width), normalised."""
        first, second = (with_channels(frame, self.config.image.image_channels) for frame in sample_frames(*size))
        pixels = np.stack([first, 255 - second, second[::-1]]) / np.float32(255)
        constants = self.processor()
        normalised = (pixels - np.array(constants["mean"], np.float32)) / np.array(constants["std"], np.float32)
        return np.ascontiguousarray(normalised.transpose(0, 3, 1, 2))

    @torch.no_grad()
    def reference(self, model: Any, inputs: Inputs) -> Answer:
        """Latents and logits (B, labels)."""
        latents = model.encode(torch.from_numpy(inputs["pixel_values"].copy()))
        return {"latents": rows(latents.numpy()), "logits": model.decoder(latents).numpy()}

    def answer(self, graphs: Graphs, inputs: Inputs) -> Answer:
        """The same from the graphs."""
        latents = graphs["encode"].run(inputs)[0]
        return {"latents": rows(latents), "logits": graphs["decode"].run({"latents": latents})[0]}

    def fused_answer(self, graph: OnnxGraph, inputs: Inputs) -> Answer:
        """The logits from the fused graph."""
        return {"logits": graph.run(inputs)[0]}

    def figures(self, reference: Answer, found: Answer) -> dict[str, float]:
        """How many images have the same first label."""
        return {"top1_agreeing": agreement(reference["logits"], found["logits"])}

    def sample(self, model: Any) -> Sample:
        """A photograph of another size than the model's. What is known is the graphs' part: the processor makes its input."""
        image = sample_frames(*KNOWN_ANSWER_SIZE)[0]
        pixels = ImageProcessor.from_json(self.processor())(image)
        return Sample({"image": image}, {"logits": self.reference(model, {"pixel_values": pixels[None]})["logits"][0]})


def _side(size: Any, side: str) -> float:
    return float(size[side] if isinstance(size, dict) else size)
