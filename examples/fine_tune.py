"""Fine-tune with transformers' Trainer, export, run without torch: texts or pictures with labels of your own.

    pip install accelerate                                               # which the Trainer needs
    python examples/fine_tune.py text                                    # commands for a robot, generated; a small new model
    python examples/fine_tune.py text --data texts.tsv --checkpoint deepmind/language-perceiver
    python examples/fine_tune.py image                                   # drawn shapes
    python examples/fine_tune.py image --data pictures/ --checkpoint deepmind/vision-perceiver-conv --size 224

Texts are lines `label<TAB>text`; pictures are in a folder for each label. A tenth is kept for measuring, and its first items
are also what the export is verified on. The Trainer's folder is a checkpoint as it is: its labels, tokenizer and image
processor go into the bundle.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from transformers import (
    PerceiverConfig,
    PerceiverForImageClassificationConvProcessing,
    PerceiverForSequenceClassification,
    PerceiverTokenizer,
    Trainer,
    TrainingArguments,
)
from transformers.models.perceiver.image_processing_pil_perceiver import PerceiverImageProcessorPil

import perceiver_deploy as pd
import perceiver_runtime as pr

Example = tuple[Any, str]  # a text or a picture, and its label
SMALL: dict[str, Any] = {"num_latents": 16, "d_latents": 64, "num_blocks": 1, "num_self_attends_per_block": 2}
SMALL |= {"num_self_attention_heads": 4, "num_cross_attention_heads": 1, "d_model": 64}
SMALL |= {
    "attention_probs_dropout_prob": 0.0,
    "initializer_range": 0.1,
}  # a new model, unlike a pretrained one, learns faster so


def commands(count: int) -> list[Example]:
    """Sentences to a robot."""
    verbs = {"go": "go to,drive to,move over to", "fetch": "bring me,fetch,pick up", "look": "look at,watch,take a photo of"}
    verbs["stop"] = "stop at,wait by,stay near"
    things = ["the kitchen", "the red box", "my cup", "the door", "the window", "the charger", "that chair", "the shelf"]
    polite = ["", "please ", "robot, ", "could you "]
    return [
        (f"{random.choice(polite)}{random.choice(verbs[label].split(','))} {random.choice(things)}", label)
        for label in random.choices(sorted(verbs), k=count)
    ]


def drawings(count: int) -> list[Example]:
    """Circles, squares and triangles of any colour and place, 48×48."""
    found: list[Example] = []
    for label in random.choices(["circle", "square", "triangle"], k=count):
        noise = np.random.default_rng(random.randrange(1 << 30)).integers(0, 90, (48, 48, 3))
        picture = Image.fromarray(noise.astype(np.uint8))
        x, y, half = random.randint(16, 31), random.randint(16, 31), random.randint(9, 14)
        colour, box = tuple(random.randint(120, 255) for _ in range(3)), (x - half, y - half, x + half, y + half)
        draw = ImageDraw.Draw(picture)
        if label == "triangle":
            draw.polygon([(x, y - half), (x - half, y + half), (x + half, y + half)], fill=colour)
        else:
            (draw.ellipse if label == "circle" else draw.rectangle)(box, fill=colour)
        found.append((picture, label))
    return found


def read(kind: str, data: Path | None, count: int) -> list[Example]:
    """Examples of a file or a folder, in any order; without one, generated ones."""
    random.seed(0)
    if data is None:
        return commands(count) if kind == "text" else drawings(count)
    if kind == "text":
        lines = [line.split("\t", 1) for line in data.read_text(encoding="utf-8").splitlines() if "\t" in line]
        examples: list[Example] = [(text, label) for label, text in lines]
    else:
        examples = [(Image.open(path).convert("RGB"), path.parent.name) for path in sorted(data.glob("*/*"))]
    random.shuffle(examples)
    return examples


def make_model(kind: str, checkpoint: str | None, labels: list[str], size: int) -> tuple[Any, Any]:
    """A model with these labels, and what makes its inputs."""
    named: dict[str, Any] = {"id2label": dict(enumerate(labels)), "label2id": {name: n for n, name in enumerate(labels)}}
    head: Any = PerceiverForSequenceClassification if kind == "text" else PerceiverForImageClassificationConvProcessing
    if kind == "text":
        processor: Any = PerceiverTokenizer()
    else:
        sides = {"height": size, "width": size}
        processor = PerceiverImageProcessorPil(size=sides, do_center_crop=False)
    if checkpoint is None:
        return head(PerceiverConfig(**SMALL, **named, max_position_embeddings=128, image_size=size)), processor
    return head.from_pretrained(checkpoint, **named, ignore_mismatched_sizes=True), processor


def collate(kind: str, processor: Any, labels: list[str], longest: int) -> Any:
    """Examples to a batch, as the Trainer wants it."""

    def batch(examples: list[Example]) -> dict[str, Any]:
        values = [value for value, _ in examples]
        if kind == "text":
            made = processor(values, padding=True, truncation=True, max_length=longest, return_tensors="pt")
        else:
            made = processor(values, return_tensors="pt")
        return {**made, "labels": torch.tensor([labels.index(label) for _, label in examples])}

    return batch


def save_samples(kind: str, examples: list[Example], folder: Path) -> None:
    """The first ones, as files for the export to verify on."""
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "text":
        (folder / "texts.txt").write_text("\n".join(text for text, _ in examples[:8]), encoding="utf-8")
    else:
        for number, (picture, _) in enumerate(examples[:8]):
            picture.save(folder / f"{number}.png")


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Train, export, run; the accuracy of transformers and of the bundle on the examples that were kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["text", "image"])
    parser.add_argument("--data", type=Path, help="texts.tsv, or a folder of folders (default: generated)")
    parser.add_argument(
        "--checkpoint", help="a hub id or a save_pretrained folder (default: a small model with random weights)"
    )
    parser.add_argument("--size", type=int, default=48, help="of pictures, pixels (default: 48)")
    parser.add_argument("--steps", type=int, default=300, help="of training (default: 300)")
    parser.add_argument("--examples", type=int, default=2000, help="generated, without --data (default: 2000)")
    parser.add_argument("-o", "--output", type=Path, default=Path("fine-tuned"), help="a folder for all (default: fine-tuned)")
    options = parser.parse_args(arguments)
    kind = options.kind
    examples = read(kind, options.data, options.examples)
    labels = sorted({label for _, label in examples})
    kept, rest = examples[: len(examples) // 10], examples[len(examples) // 10 :]
    torch.manual_seed(0)
    model, processor = make_model(kind, options.checkpoint, labels, options.size)
    settings = TrainingArguments(
        output_dir=str(options.output / "checkpoint"),
        max_steps=options.steps,
        per_device_train_batch_size=16,
        learning_rate=5e-5 if options.checkpoint else 1e-3,
        lr_scheduler_type="cosine",
        remove_unused_columns=False,
        save_strategy="no",
        report_to=[],
        dataloader_pin_memory=False,
        logging_steps=50,
    )
    trainer = Trainer(
        model=model,
        args=settings,
        train_dataset=rest,  # type: ignore[arg-type, unused-ignore]  # a list will do
        eval_dataset=kept,  # type: ignore[arg-type, unused-ignore]
        data_collator=collate(kind, processor, labels, model.config.max_position_embeddings),
        processing_class=processor,
    )
    trainer.train()
    trainer.save_model()
    truth = [label for _, label in kept]
    found = trainer.predict(kept).predictions  # type: ignore[arg-type, unused-ignore]
    logits = found[0] if isinstance(found, tuple) else found
    with_torch = [labels[number] for number in np.asarray(logits).argmax(axis=-1)]

    save_samples(kind, kept, options.output / "samples")
    bundle = options.output / "bundle"
    pd.export_bundle(checkpoint=options.output / "checkpoint", output=bundle, samples=options.output / "samples", force=True)

    with pr.load(bundle) as classify:  # from here on, numpy and ONNX Runtime alone
        on_device = [classify(value, top_k=1)[0].label for value, _ in kept]  # type: ignore[operator, unused-ignore]
    accuracy = [float(np.mean([one == other for one, other in zip(each, truth)])) for each in (with_torch, on_device)]
    print(f"{len(kept)} examples that were kept: transformers {accuracy[0]:.1%}, the bundle {accuracy[1]:.1%}")
    return {"transformers": accuracy[0], "bundle": accuracy[1]}


if __name__ == "__main__":
    main()
