"""Exporting image classification."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from perceiver_deploy.tasks import samples
from perceiver_deploy.tasks.image_config import assumed, read_processor
from perceiver_deploy.tasks.pictures import sample_frames
from perceiver_deploy.tasks.recipe import Case, ClassificationRecipe, Inputs, shape_text
from perceiver_export.tasks.image import SMALLEST
from perceiver_runtime.bundle.manifest import Range
from perceiver_runtime.files.images import read_image
from perceiver_runtime.files.picture_series import PICTURES
from perceiver_runtime.processing.image import ImageProcessor, with_channels
from perceiver_runtime.tasks.known_answer import Sample

LARGEST, ODD = 1024, (61, 83)
KNOWN_ANSWER_SIZE = (120, 180)


class ImageRecipe(ClassificationRecipe):
    """An image to labels."""

    sample_files = "pictures"
    usage = "image.png"

    @cached_property
    def size(self) -> tuple[int, int]:
        """Height and width that images are resized to: as asked for, else as the checkpoint's own processor has it."""
        if self.options.image_size is not None:
            return self.options.image_size
        own: tuple[int, int] = self.config.image.size
        if self.config.image.positions == "fourier":
            own = read_processor(self.folder, self.preprocessor, self.config.image.image_channels, own).size
        return own

    def graph_options(self) -> dict[str, Any]:
        """Learned positions are made for one size."""
        return super().graph_options() | {"image_size": self.options.image_size}

    def ranges(self) -> dict[str, Range]:
        """The sizes that the graphs are meant for."""
        height, width = (LARGEST, LARGEST)
        if self.target.profiles:  # an engine's memory is that of its largest input
            height, width = self.size
        return {"B": Range(1, 64), "H": Range(min(SMALLEST, height), height), "W": Range(min(SMALLEST, width), width)}

    def planned_sizes(self) -> dict[str, int]:
        """With the size that images are resized to."""
        return super().planned_sizes() | dict(zip("HW", self.size))

    def processor(self) -> dict[str, Any]:
        """The constants that perceiver_runtime.processing.image.ImageProcessor reads.

        From the checkpoint's preprocessor_config.json where it has one, else DeepMind's.
        """
        processor = read_processor(self.folder, self.preprocessor, self.config.image.image_channels, self.config.image.size)
        fixed = self.config.image.positions != "fourier" and self.options.image_size is None
        if fixed and processor.size != self.size:
            raise self.unusable_preprocessor(f"it makes images of {processor.size}, the model's positions are for {self.size}")
        if processor.size != self.size:
            processor = processor.resized(self.size)
        if not self.preprocessor:
            self.notes[f"no preprocessor_config.json: {assumed(processor)}; for another size: --image-size"] = None
        constants = processor.to_json() | {"problem": self.config.problem}
        ImageProcessor.from_json(constants)
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
        constants = self.processor()
        pixels = np.stack([first, 255 - second, second[::-1]]) * np.float32(constants.get("scale", 1 / 255))
        normalised = (pixels - np.array(constants["mean"], np.float32)) / np.array(constants["std"], np.float32)
        return np.ascontiguousarray(normalised.transpose(0, 3, 1, 2))

    def read_samples(self, folder: Path) -> list[Inputs]:
        """Each picture, as the runtime would process it."""
        processor = ImageProcessor.from_json(self.processor())
        pictures = self.first(samples.files(folder, PICTURES), folder)
        return [{"pixel_values": processor(read_image(file), str(file))[None]} for file in pictures]

    def encode(self, model: Any, inputs: Inputs) -> torch.Tensor:
        """torch's latents (B, N, D)."""
        with torch.no_grad():
            latents: torch.Tensor = model.encode(torch.from_numpy(inputs["pixel_values"].copy()))
        return latents

    def sample_image(self) -> NDArray[np.uint8]:
        """The checkpoint's own sample, else a photograph."""
        file = self.sample_file("image.png")
        return read_image(file) if file else sample_frames(*KNOWN_ANSWER_SIZE)[0]

    def sample(self, model: Any) -> Sample:
        """An image of another size than the model's. What is known is the graphs' part: the processor makes its input."""
        image = self.sample_image()
        pixels = ImageProcessor.from_json(self.processor())(image)
        return Sample({"image": image}, {"logits": self.reference(model, {"pixel_values": pixels[None]})["logits"][0]})
