"""The sides of benchmarks/cpu.py: what each loads, and the call that is timed."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

TASKS = {
    "flow": "PerceiverForOpticalFlow",
    "fill-mask": "PerceiverForMaskedLM",
    "image-learned": "PerceiverForImageClassificationLearned",
    "image-fourier": "PerceiverForImageClassificationFourier",
    "image-conv": "PerceiverForImageClassificationConvProcessing",
    "multimodal": "PerceiverForMultimodalAutoencoding",
}
CLIP_CHUNKS = 128  # of a clip, as transformers' documentation decodes it
PLAIN_OPENVINO = {"OpenVINO fp32": "f32", "OpenVINO bf16": "bf16"}  # precisions of a plain export
OURS = {  # bundle and device
    "ours without passes": ("without-passes", "cpu"),
    "ours": ("fp32", "cpu"),
    "ours int8": ("int8", "cpu"),
    "ours on OpenVINO": ("fp32", "openvino"),
    "ours on OpenVINO bf16": ("fp32", "openvino-bf16"),
    "ours on OpenVINO int8": ("int8", "openvino-bf16"),
}
SIDES = ["transformers", "torch.compile", "plain ONNX", *PLAIN_OPENVINO, *OURS]


def needs_openvino(side: str) -> bool:
    """Whether a side runs on OpenVINO."""
    return "OpenVINO" in side


def inputs_of(task: str) -> dict[str, np.ndarray[Any, Any]]:
    """What transformers' model takes, at its own size, under its own names; frames not yet cut into patches."""
    rng = np.random.default_rng(0)
    if task == "flow":
        return {"frames": rng.uniform(-1, 1, (1, 2, 3, 368, 496)).astype(np.float32)}
    if task == "multimodal":
        video = rng.uniform(0, 1, (1, 16, 3, 224, 224)).astype(np.float32)
        return {"video": video, "audio": rng.uniform(-1, 1, (1, 30720, 1)).astype(np.float32)}
    if task == "fill-mask":
        ids = rng.integers(6, 262, (1, 2048))
        return {"inputs": ids, "attention_mask": np.ones_like(ids)}
    return {"inputs": rng.standard_normal((1, 3, 224, 224)).astype(np.float32)}


def transformers_call(task: str, checkpoint: Path, *, compiled: bool) -> Callable[[], Any]:
    """transformers' model on its inputs."""
    import torch
    import transformers
    from cases import patches

    model = getattr(transformers, TASKS[task]).from_pretrained(checkpoint).eval()
    given = {name: torch.from_numpy(array) for name, array in inputs_of(task).items()}
    if task == "flow":
        given = {"inputs": patches(given["frames"])}
    if task == "multimodal":
        return clip_chunk(model, given)
    forward = torch.compile(model) if compiled else model

    @torch.no_grad()
    def call() -> Any:
        return forward(**given).logits.numpy()

    return call


def clip_chunk(model: Any, given: dict[str, Any]) -> Callable[[], Any]:
    """The first of a clip's chunks, on transformers; what it says of the pixels."""
    import torch

    inputs = {"image": given["video"], "audio": given["audio"], "label": torch.zeros(1, 700)}
    pixels, samples = 16 * 224 * 224 // CLIP_CHUNKS, given["audio"].shape[1] // 16 // CLIP_CHUNKS
    points = {"image": torch.arange(pixels), "audio": torch.arange(samples), "label": None}

    @torch.no_grad()
    def call() -> Any:
        return model(inputs=inputs, subsampled_output_points=points).logits["image"].numpy()

    return call


def export_plain(task: str, checkpoint: Path, output: Path) -> None:
    """torch.onnx.export of transformers' model."""
    import torch
    import transformers
    from cases import patches

    class Logits(torch.nn.Module):
        def __init__(self, model: Any) -> None:
            super().__init__()
            self.model = model

        def forward(self, inputs: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
            logits: torch.Tensor = self.model(inputs=inputs, attention_mask=attention_mask).logits
            return logits

    model = Logits(getattr(transformers, TASKS[task]).from_pretrained(checkpoint)).eval()
    given = {name: torch.from_numpy(array) for name, array in inputs_of(task).items()}
    example = (patches(given["frames"]),) if task == "flow" else tuple(given.values())
    names = ["inputs", "attention_mask"][: len(example)]
    torch.onnx.export(model, example, output, dynamo=True, opset_version=18, input_names=names, external_data=True)


def plain_call(task: str, graph: Path, side: str) -> Callable[[], Any]:
    """A plain export on ONNX Runtime or OpenVINO."""
    given = inputs_of(task)
    if task == "flow":
        import torch
        from cases import patches

        given = {"inputs": patches(torch.from_numpy(given["frames"])).numpy()}
    if side == "plain ONNX":
        from perceiver_runtime.backends.onnxruntime import onnxruntime

        session: Any = onnxruntime().InferenceSession(str(graph))
        return lambda: session.run(None, given)[0]
    from perceiver_runtime.backends.openvino import openvino

    model = openvino().Core().compile_model(str(graph), "CPU", {"INFERENCE_PRECISION_HINT": PLAIN_OPENVINO[side]})
    return lambda: model(given)[0]


def ours_call(task: str, bundle: Path, device: str) -> Callable[[], Any]:
    """A bundle's graphs: encode, and all outputs decoded."""
    from bundle_run import BundleRun

    from perceiver_runtime.bundle.reader import open_bundle

    run = BundleRun(open_bundle(bundle), device=device)
    if task == "multimodal":
        pixels = 16 * 224 * 224 // CLIP_CHUNKS
        clip = inputs_of(task)
        frames = list(clip["video"][0].transpose(0, 2, 3, 1))
        return lambda: run.pipeline(frames, clip["audio"][0]).video.reshape(-1, 3)[:pixels]
    names = [spec.name for spec in run.pipeline.graphs["encode"].entry.inputs]
    given = dict(zip(names, inputs_of(task).values()))
    return lambda: run(given)


def call_of(task: str, side: str, source: Path) -> Callable[[], Any]:
    """A side, loaded."""
    if side in OURS:
        return ours_call(task, source, OURS[side][1])
    if side in ("transformers", "torch.compile"):
        return transformers_call(task, source, compiled=side == "torch.compile")
    return plain_call(task, source, side)


def prepare(task: str, sides: list[str], folder: Path) -> dict[str, Path]:
    """What each side loads; a bundle that cannot be exported is left out, and said."""
    from cases import save_random

    checkpoint = folder / "checkpoint"
    save_random(task, checkpoint)
    sources: dict[str, Path] = {}
    for side in sides:
        if side in OURS:
            source = folder / OURS[side][0]
            if not source.exists():
                export_ours(checkpoint, source)
            sources[side] = source
        elif side in ("transformers", "torch.compile"):
            sources[side] = checkpoint
        else:
            sources[side] = folder / "plain.onnx"
            if not sources[side].exists():
                export_plain(task, checkpoint, sources[side])
    return sources


def export_ours(checkpoint: Path, output: Path) -> None:
    """A bundle of a kind: fp32, without-passes, int8. The last has the int8 graphs in the place of a verified one's."""
    from perceiver_deploy import export_bundle

    if output.name == "int8":
        verified = output.with_name("fp32")
        if not verified.exists():
            export_bundle(checkpoint=checkpoint, output=verified)
        export_int8(checkpoint, verified, output)
    elif output.name == "without-passes":
        export_bundle(checkpoint=checkpoint, output=output, passes=())
    else:
        export_bundle(checkpoint=checkpoint, output=output)


def export_int8(checkpoint: Path, verified: Path, output: Path) -> None:
    """A bundle with the int8 graphs of a checkpoint, in the place of a verified one's."""
    from perceiver_deploy.tasks.recipe import ExportOptions
    from perceiver_deploy.tasks.registry import EXPORT_TASKS
    from perceiver_export import export_graphs
    from perceiver_export.targets import every_layer
    from perceiver_io.loading.checkpoint import find_checkpoint, load_files
    from perceiver_runtime.bundle.manifest import FileEntry, Manifest
    from perceiver_runtime.bundle.reader import file_sha256

    shutil.copytree(verified, output)
    files = find_checkpoint(checkpoint, allow_pickle=False, revision=None)
    model = load_files(files)
    recipe = EXPORT_TASKS[files.task].recipe(model.config, ExportOptions(precision="int8"), checkpoint)
    options: dict[str, Any] = {"lowering": recipe.lowering(), "choose_layers": every_layer("ort"), **recipe.graph_options()}
    export_graphs(files.task, model, output, progress=lambda _: None, **options)
    manifest = Manifest.from_json((output / "manifest.json").read_bytes())
    entries = tuple(FileEntry(entry.path, *file_sha256(output / entry.path)) for entry in manifest.files)
    changed = dataclasses.replace(manifest, precision="int8", files=entries)
    (output / "manifest.json").write_text(changed.to_json(), encoding="utf-8")
