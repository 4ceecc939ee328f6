"""The multimodal autoencoder as graphs: one encodes a clip, three decode video, sound and label.

The label input is masked: its token is a constant of the graph.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.export import Dim

from perceiver_export.graph_spec import GraphSpec, traceable
from perceiver_export.grid_positions import GridFourier
from perceiver_io import MultimodalAutoencoder
from perceiver_io.parts.image_preprocessor import space_to_depth
from perceiver_io.tasks.multimodal import AUDIO, IMAGE, LABEL


def pad(own: list[Tensor], padding: Tensor) -> Tensor:
    """Parts (B, O, ·) with C channels together, padding (1, P) → (B, O, C + P)."""
    return torch.cat([*own, padding.expand(own[0].shape[0], own[0].shape[1], -1)], dim=-1)


class MultimodalEncode(nn.Module):
    """video, audio → latents."""

    def __init__(self, model: MultimodalAutoencoder) -> None:
        super().__init__()
        self.config, self.encoder = model.config, model.encoder
        preprocessor = model.preprocessor
        self.video_positions = GridFourier(preprocessor.modalities[IMAGE].positions)  # type: ignore[arg-type]
        self.audio_positions = GridFourier(preprocessor.modalities[AUDIO].positions)  # type: ignore[arg-type]
        self.video_padding, self.audio_padding = preprocessor.padding[IMAGE], preprocessor.padding[AUDIO]
        self.label = preprocessor.mask[LABEL]

    def forward(self, video: Tensor, audio: Tensor) -> Tensor:
        """video (B, T, 3, H, W) in [0, 1], audio (B, S, 1) → latents (B, N, D)."""
        batch = video.shape[0]
        runs = audio.reshape(batch, audio.shape[1] // self.config.samples_per_patch, self.config.samples_per_patch)
        patches = space_to_depth(video, self.config.video_patch)  # (B, T, h, w, channels)
        run_positions = self.audio_positions((runs.shape[1],), batch)
        patch_positions = self.video_positions((patches.shape[1], patches.shape[2], patches.shape[3]), batch)
        sound = pad([runs, *run_positions], self.audio_padding)
        frames = pad([patches.flatten(1, 3), *patch_positions], self.video_padding)
        latents: Tensor = self.encoder(torch.cat([sound, frames, self.label.expand(batch, 1, -1)], dim=1))
        return latents


class ModalityDecode(nn.Module):
    """latents, query_positions → one modality's outputs."""

    def __init__(self, model: MultimodalAutoencoder, name: str) -> None:
        super().__init__()
        self.decoder, self.padding = model.decoder.decoder, model.decoder.padding[name]
        self.positions = GridFourier(model.decoder.video if name == IMAGE else model.decoder.audio)
        self.postprocessor = model.postprocessor.modalities[name]

    def forward(self, latents: Tensor, query_positions: Tensor) -> Tensor:
        """latents (B, N, D), query_positions (B, O, 3) or (B, P, 1) → (B, O, 3) or (B, P, samples)."""
        outputs: Tensor = self.postprocessor(self.decoder(latents, pad([self.positions.at(query_positions)], self.padding)))
        return outputs


class LabelDecode(nn.Module):
    """latents → logits."""

    def __init__(self, model: MultimodalAutoencoder) -> None:
        super().__init__()
        self.decoder, self.padding = model.decoder.decoder, model.decoder.padding[LABEL]
        self.query, self.postprocessor = model.decoder.label, model.postprocessor.modalities[LABEL]

    def forward(self, latents: Tensor) -> Tensor:
        """latents (B, N, D) → logits (B, labels)."""
        logits: Tensor = self.postprocessor(self.decoder(latents, pad([self.query(latents.shape[0])], self.padding)))
        return logits


class MultimodalFused(nn.Module):
    """A clip, and where to decode it → all three outputs."""

    def __init__(self, model: MultimodalAutoencoder) -> None:
        super().__init__()
        self.encode = MultimodalEncode(model)
        self.video, self.audio, self.label = ModalityDecode(model, IMAGE), ModalityDecode(model, AUDIO), LabelDecode(model)

    def forward(
        self, video: Tensor, audio: Tensor, video_positions: Tensor, audio_positions: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As `MultimodalEncode` and the decoders → rgb (B, O, 3), samples (B, P, samples), logits (B, labels)."""
        latents = self.encode(video, audio)
        return self.video(latents, video_positions), self.audio(latents, audio_positions), self.label(latents)


def multimodal_encode(traced: MultimodalAutoencoder) -> GraphSpec:
    """The encoder of a traceable multimodal model."""
    config = traced.config
    patch, run = config.video_patch, config.samples_per_patch
    batch, frames, rows, columns, runs = (Dim(name, min=low) for name, low in zip("BThwp", (1, 2, 2, 2, 2)))
    return GraphSpec(
        name="encode",
        module=MultimodalEncode(traced),
        example={"video": torch.zeros(2, 3, 3, 5 * patch, 6 * patch), "audio": torch.zeros(2, 7 * run, 1)},
        dynamic={"video": {0: batch, 1: frames, 3: patch * rows, 4: patch * columns}, "audio": {0: batch, 1: run * runs}},
        outputs={"latents": ("B", config.encoder.num_latents, config.encoder.latent_channels)},
    )


def multimodal_graphs(model: MultimodalAutoencoder, *, fused: bool = False) -> list[GraphSpec]:
    """What to trace for multimodal autoencoding."""
    traced, config = traceable(model), model.config
    encode = multimodal_encode(traced)
    batch, pixels, runs = Dim("B", min=1), Dim("O", min=1), Dim("P", min=1)
    latents = {"latents": torch.zeros(2, config.encoder.num_latents, config.encoder.latent_channels)}
    rgb: dict[str, tuple[str | int, ...]] = {"rgb": ("B", "O", 3)}
    samples: dict[str, tuple[str | int, ...]] = {"samples": ("B", "P", config.samples_per_patch)}
    logits: dict[str, tuple[str | int, ...]] = {"logits": ("B", len(config.labels))}
    video_positions, audio_positions = torch.zeros(2, 5, 3), torch.zeros(2, 7, 1)

    def decode(
        name: str, modality: str, positions: Tensor, count: object, outputs: dict[str, tuple[str | int, ...]]
    ) -> GraphSpec:
        return GraphSpec(
            name=name,
            module=ModalityDecode(traced, modality),
            example=latents | {"query_positions": positions},
            dynamic={"latents": {0: batch}, "query_positions": {0: batch, 1: count}},
            outputs=outputs,
        )

    whole = GraphSpec(
        name="model",
        module=MultimodalFused(traced),
        example=encode.example | {"video_positions": video_positions, "audio_positions": audio_positions},
        dynamic=encode.dynamic | {"video_positions": {0: batch, 1: pixels}, "audio_positions": {0: batch, 1: runs}},
        outputs=rgb | samples | logits,
    )
    return [
        encode,
        decode("decode_video", IMAGE, video_positions, pixels, rgb),
        decode("decode_audio", AUDIO, audio_positions, runs, samples),
        GraphSpec("decode_label", LabelDecode(traced), latents, {"latents": {0: batch}}, logits),
    ] + [whole] * fused
