"""Each of transformers' seven heads → `perceiver-export` → numpy and ONNX Runtime: the same answer.

Small sizes in this process; the published ones in an environment that holds perceiver-runtime, numpy and onnxruntime only.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from heads import HEADS, Head, clip, save_random_head
from published import model_frames
from skimage import data
from test_heads_reference import check
from transformers import PerceiverConfig, PerceiverModel, PerceiverTokenizer
from transformers.models.perceiver.image_processing_pil_perceiver import PerceiverImageProcessorPil

import perceiver_runtime as pr
from perceiver_deploy import export_bundle
from perceiver_io import PUBLISHED, load_checkpoint
from perceiver_runtime.common.children import python_code

LIMIT = 1e-3  # of the logits' scale
TEXTS = ["Where is[MASK] it?", "A somewhat longer sentence with[MASK][MASK] in it, to be padded to.", "[MASK]é東"]
SIZES = [(90, 120), (224, 224), (300, 260)]
CHUNKS = [997, 4096, 50000]

# What runs on the device. It prints peak memory, after loading too, what was imported, and how often each graph ran.
PROGRAM = """
import json, sys
import numpy as np
import perceiver_runtime as pr
from perceiver_runtime.backends.onnxruntime import OnnxGraph

bundle, given, out = sys.argv[1:]
runs = []
def peak():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))

run = OnnxGraph.run
OnnxGraph.run = lambda self, inputs: runs.append(self.name) or run(self, inputs)
with np.load(given) as arrays:
    given = {name: arrays[name] for name in arrays.files}
found = {}
with pr.load(bundle) as pipeline:
    loading_peak = peak()
    task = pipeline.manifest.task
    if "texts" in given:
        texts = given["texts"].tolist()
        for name, batch in [("batch", texts), *((str(number), [text]) for number, text in enumerate(texts))]:
            input_ids, attention_mask = pipeline.processor.batch(batch, truncate=False)
            latents = pipeline.run("encode", {"input_ids": input_ids, "attention_mask": attention_mask}, shape=(None,) * 3)
            if task == "fill-mask":
                places = [np.flatnonzero(row == 3)[:1] for row in input_ids]  # the first mask of each
                queries = {"latents": latents, "query_positions": np.stack(places)}
                found[name] = pipeline.run("decode", queries, shape=(None,) * 3)[:, 0]
            else:
                found[name] = pipeline.run("decode", {"latents": latents}, shape=(None,) * 2)
        pipeline(texts, top_k=1)
    elif "image0" in given:
        images = [given[f"image{number}"] for number in range(3)]
        for name, batch in [("batch", images), *((str(number), [image]) for number, image in enumerate(images))]:
            pixels = np.stack([pipeline.processor(image) for image in batch])
            latents = pipeline.run("encode", {"pixel_values": pixels}, shape=(None,) * 3)
            found[name] = pipeline.run("decode", {"latents": latents}, shape=(None,) * 2)
        pipeline(images, top_k=1)
    else:
        clip = pipeline(given["video"], given["audio"])
        found |= {"video": clip.video, "audio": clip.audio}
        found["labels"] = np.array([label.probability for label in clip.labels])
        found["top1"] = np.array(clip.labels[0].label)
        whole = list(runs)
        for chunk in given["chunks"].tolist():
            found[f"chunk{chunk}"] = pipeline.frames([3], query_chunk=chunk)
        assert runs.count("encode.onnx") == 1, runs  # once for the clip and all its frames
        runs = whole
np.savez(out, **found)
missing = [name for name in ("torch", "onnx", "safetensors", "transformers", "PIL") if name in sys.modules]
print(json.dumps({"peak_bytes": peak(), "loading_peak_bytes": loading_peak, "loaded": missing, "runs": runs}))
"""


def given_to(head: Head, config: Any) -> dict[str, np.ndarray]:
    """What a user gives: texts, three images of different sizes, or a clip."""
    if head.task in ("fill-mask", "text-classification"):
        return {"texts": np.array(TEXTS)}
    if head.task == "image-classification":
        pictures = [data.astronaut(), data.chelsea(), data.coffee()]
        return {f"image{number}": picture[: size[0], : size[1]] for number, (picture, size) in enumerate(zip(pictures, SIZES))}
    video, audio = clip(config.num_frames, config.output_shape[2], config.num_frames * config.audio_samples_per_frame)
    return {"video": video[0].permute(0, 2, 3, 1).numpy(), "audio": audio[0, :, 0].numpy(), "chunks": np.array(CHUNKS)}


@torch.no_grad()
def transformers_logits(head: Head, model: Any, given: dict[str, np.ndarray], size: int) -> np.ndarray:
    """transformers' logits, with its own tokenizer and image processor, each input alone: (3, labels or vocabulary)."""
    if head.task == "image-classification":
        processor = PerceiverImageProcessorPil(size={"height": size, "width": size}, crop_size=rounded_crop(size))
        pixels = [processor(given[f"image{number}"], return_tensors="pt")["pixel_values"] for number in range(3)]
        return torch.cat([model(inputs=each).logits for each in pixels]).numpy()
    logits = []
    for text in given["texts"].tolist():
        ids = PerceiverTokenizer()(text, return_tensors="pt")["input_ids"]
        answer = model(inputs=ids).logits[0]
        logits.append(answer[int((ids[0] == 3).nonzero()[0])] if head.task == "fill-mask" else answer)
    return torch.stack(logits).numpy()


def rounded_crop(size: int) -> dict[str, int]:
    crop = round(size * 256 / 224)
    return {"height": crop, "width": crop}


def run_on_device(python: Path | str, bundle: Path, given: dict[str, np.ndarray], folder: Path) -> dict[str, Any]:
    np.savez(folder / "given.npz", **given)
    command = [*python_code(PROGRAM, python), bundle, folder / "given.npz", folder / "out.npz"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    with np.load(folder / "out.npz") as arrays:
        found = {name: arrays[name] for name in arrays.files}
    return {**found, **json.loads(done.stdout)}


def check_logits(expected: np.ndarray, found: dict[str, Any]) -> None:
    alone = np.concatenate([found[str(number)] for number in range(3)])
    scale = np.abs(expected).max()
    for answer in (found["batch"], alone):
        assert np.abs(answer - expected).max() <= LIMIT * scale
        assert (answer.argmax(axis=-1) == expected.argmax(axis=-1)).all()
    assert np.abs(alone[::-1] - expected).max() > 10 * LIMIT * scale  # the inputs differ by far more than the tolerance


@torch.no_grad()
def check_clip(model: Any, given: dict[str, np.ndarray], found: dict[str, Any]) -> None:
    """Pixels all over the clip, runs of samples, and the label, against transformers."""
    config = model.config
    frames, height, width = config.output_shape[1:]
    pixels = torch.linspace(0, frames * height * width - 1, 300).long()
    runs = torch.linspace(0, len(given["audio"]) // config.samples_per_patch - 1, 50).long()
    video = torch.from_numpy(given["video"]).permute(0, 3, 1, 2)[None]
    inputs = {
        "image": video,
        "audio": torch.from_numpy(given["audio"])[None, :, None],
        "label": torch.zeros(1, config.num_labels),
    }
    expected = model(inputs=inputs, subsampled_output_points={"image": pixels, "audio": runs, "label": None}).logits
    rgb, samples = found["video"].reshape(-1, 3)[pixels], found["audio"].reshape(-1, config.samples_per_patch)[runs]
    for ours, theirs in ((rgb, expected["image"][0].numpy()), (samples, expected["audio"].view(len(runs), -1).numpy())):
        scale = theirs.std(axis=0).mean()
        assert np.abs(ours - theirs).max() <= LIMIT * scale
        assert np.abs(ours[::-1] - theirs).max() > 100 * LIMIT * scale
    best = int(expected["label"][0].argmax())
    assert str(found["top1"]) == config.id2label[best]
    probabilities = torch.softmax(expected["label"][0].double(), dim=0)
    assert abs(found["labels"][0] - float(probabilities[best])) <= LIMIT
    for chunk in CHUNKS:  # however it is cut into chunks
        scale = np.abs(found["video"]).max()
        np.testing.assert_allclose(found[f"chunk{chunk}"][0], found["video"][3], rtol=0, atol=1e-5 * scale)
    assert found["runs"].count("encode.onnx") == 1


def check_device(head: Head, model: Any, python: Path | str, bundle: Path, folder: Path) -> dict[str, Any]:
    given = given_to(head, model.config)
    found = run_on_device(python, bundle, given, folder)
    if head.task == "multimodal":
        check_clip(model, given, found)
    else:
        size = model.config.image_size if head.name.endswith("Learned") else 224
        check_logits(transformers_logits(head, model, given, size), found)
    return found


NOT_FLOW = [head for head in HEADS if head.task != "flow"]  # which has a file of its own
NAMES = [head.name.removeprefix("PerceiverFor") for head in NOT_FLOW]


@pytest.mark.parametrize("head", NOT_FLOW, ids=NAMES)
def test_tiny(head: Head, device_python: Path, tmp_path: Path) -> None:
    model = check(head, head.tiny, tmp_path / "checkpoint")
    export_bundle(task=head.task, checkpoint=tmp_path / "checkpoint", output=tmp_path / "bundle", fused=True)
    assert check_device(head, model, device_python, tmp_path / "bundle", tmp_path)["loaded"] == []
    labels = load_checkpoint(tmp_path / "checkpoint").config
    if head.task != "fill-mask":
        assert json.loads((tmp_path / "bundle" / "labels.json").read_text()) == list(labels.labels)
    weights = (tmp_path / "bundle" / "weights.safetensors").stat().st_size
    assert weights <= 1.15 * (tmp_path / "checkpoint" / "model.safetensors").stat().st_size  # three graphs, one set of weights


def check_published(head: Head, folder: Path) -> Any:
    """The reference against transformers at the published size, and the configuration against what is written down here."""
    model = check(head, head.published, folder)
    config = load_checkpoint(folder).config
    known = [published.config for published in PUBLISHED.values() if published.task == head.task]
    assert head.task == "text-classification" or any(with_labels_of(config, other) == config for other in known)
    return model


@pytest.mark.published_size
@pytest.mark.long
@pytest.mark.parametrize("head", NOT_FLOW, ids=NAMES)
def test_published_size(head: Head, device_python: Path, tmp_path: Path) -> None:
    """The reference and the bundle, against transformers. Peak memory of the clip: under 2.5 GB."""
    model = check_published(head, tmp_path / "checkpoint")
    export_bundle(task=head.task, checkpoint=tmp_path / "checkpoint", output=tmp_path / "bundle")
    found = check_device(head, model, device_python, tmp_path / "bundle", tmp_path)
    assert found["loaded"] == []
    weights = (tmp_path / "bundle" / "weights.safetensors").stat().st_size
    assert weights <= 1.02 * (tmp_path / "checkpoint" / "model.safetensors").stat().st_size
    if head.task == "multimodal":
        assert found["peak_bytes"] < 2.5e9
    if weights > 500e6:  # else Python and libraries count for more
        assert found["loading_peak_bytes"] < 1.3 * weights


def with_labels_of(config: Any, other: Any) -> Any:
    return type(other)(**{**vars(other), **({"labels": config.labels} if hasattr(config, "labels") else {})})


def test_masked_bytes_alone_are_decoded(tmp_path: Path) -> None:
    head = HEADS[0]
    check(head, head.tiny, tmp_path / "checkpoint")
    export_bundle(task="fill-mask", checkpoint=tmp_path / "checkpoint", output=tmp_path / "bundle")
    with pr.load(tmp_path / "bundle") as mlm:
        decoded = []
        run = mlm.graphs["decode"].run
        mlm.graphs["decode"].run = lambda inputs: decoded.append(inputs["query_positions"].shape) or run(inputs)
        spans = mlm("some words are[MASK*9]", top_k=2)
    assert decoded == [(1, 9)]
    assert [(span.start, span.end, len(span.candidates)) for span in spans] == [(14, 23, 2)]


def test_learned_positions_of_another_size(tmp_path: Path) -> None:
    """`--image-size`: the table is interpolated at export, as transformers interpolates it at run time."""
    head = HEADS[2]
    model = check(head, head.tiny, tmp_path / "checkpoint")
    export_bundle(
        task="image-classification", checkpoint=tmp_path / "checkpoint", output=tmp_path / "bundle", image_size=(40, 24)
    )
    image = data.astronaut()
    with pr.load(tmp_path / "bundle") as classify, torch.no_grad():
        pixels = classify.processor(image)[None]
        assert pixels.shape == (1, 3, 40, 24)
        with pytest.raises(pr.InputError, match="positions are learned, of one size: export it again with --image-size"):
            classify(image, size=(32, 32))
        latents = classify.run("encode", {"pixel_values": pixels}, shape=(1, None, None))
        found = classify.run("decode", {"latents": latents}, shape=(1, None))
        expected = model(inputs=torch.from_numpy(pixels), interpolate_pos_encoding=True).logits.numpy()
        mirrored = model(inputs=torch.from_numpy(pixels[..., ::-1].copy()), interpolate_pos_encoding=True).logits.numpy()
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    assert np.abs(found - mirrored).max() > 1e-3 * np.abs(expected).max()


def test_the_checkpoint_s_own_image_constants(tmp_path: Path) -> None:
    """A preprocessor_config.json beside the weights is used; a broken one is refused."""
    head = HEADS[3]
    model = check(head, head.tiny, tmp_path / "checkpoint")
    processor = PerceiverImageProcessorPil(
        size={"height": 32, "width": 32},
        crop_size={"height": 40, "width": 40},
        image_mean=[0.1, 0.2, 0.3],
        image_std=[0.9, 0.8, 0.7],
    )
    processor.save_pretrained(tmp_path / "checkpoint")
    options = {"task": "image-classification", "checkpoint": tmp_path / "checkpoint"}
    export_bundle(**options, output=tmp_path / "bundle")  # type: ignore[arg-type]
    image = data.astronaut()
    pixels = processor(image, return_tensors="pt")["pixel_values"]
    with pr.load(tmp_path / "bundle") as classify, torch.no_grad():
        np.testing.assert_allclose(classify.processor(image), pixels[0], rtol=0, atol=1e-5)
        best = int(model(inputs=pixels).logits.argmax())
        assert classify(image)[0].label == model.config.id2label[best]
    (tmp_path / "checkpoint" / "preprocessor_config.json").write_text('{"image_mean": "grey"}')
    with pytest.raises(pr.InputError, match=r"preprocessor_config.json cannot be used .* correct it, or remove it"):
        export_bundle(**options, output=tmp_path / "other")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["vectors", "frames"])
def test_features_of_vectors_and_frames(kind: str, tmp_path: Path) -> None:
    if kind == "vectors":
        torch.manual_seed(0)
        config = PerceiverConfig(num_latents=8, d_latents=32, d_model=16, num_self_attends_per_block=1)
        PerceiverModel(config).save_pretrained(tmp_path / "checkpoint")
        item: Any = np.random.default_rng(0).standard_normal((21, 16)).astype(np.float32)
    else:
        save_random_head(tmp_path / "checkpoint", HEADS[5].name, HEADS[5].tiny)
        item = (data.astronaut()[:40, :56], data.astronaut()[2:42, 1:57])
    export_bundle(task="features", checkpoint=tmp_path / "checkpoint", output=tmp_path / "bundle")
    model = load_checkpoint(tmp_path / "checkpoint")
    with torch.no_grad():
        latents = model(torch.from_numpy(item)[None]) if kind == "vectors" else model.encode(model_frames(*item))[0]
    expected = latents[0].numpy()
    with pr.load(tmp_path / "bundle") as features:
        assert np.abs(features(item) - expected).max() <= 1e-4 * expected.std()
        assert np.abs(features(item)[::-1] - expected).max() > 0.1 * expected.std()
        with pytest.raises(pr.InputError, match=r"vectors should be finite floats \(M, 16\)|larger than the model's 56x40"):
            features(np.zeros((3, 15), np.float32) if kind == "vectors" else (data.astronaut(), data.astronaut()))
