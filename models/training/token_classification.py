"""Train the small token classifier that ships with perceiver_io: fields in text.

    python models/training/token_classification.py --minutes 60 --out fields-small
    python models/training/token_classification.py --evaluate fields-small
    python models/training/token_classification.py --write-held-out tests/data/held_out_fields.csv

Dates, times, amounts, units, e-mail addresses, phone numbers and URLs in texts that are made as training goes: values of many
formats in templates and in WordNet's glosses (field_texts, wordnet.py). The checkpoint is in perceiver_io's own layout.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import loop
import torch
from field_texts.draw import Draw
from field_texts.texts import HELD_OUT, LABELS, Labelled, filled, labelled, passage, source
from local_start import read_bytes_near, start_text
from torch import Tensor
from wordnet import FOLDER, Synset, read_synsets

from perceiver_io import (
    DecoderConfig,
    EncoderConfig,
    TextInputConfig,
    TokenClassificationConfig,
    TokenClassifier,
    fill_mask_loss,
    load_checkpoint,
    save_checkpoint,
)
from perceiver_io.tasks.fill_mask import IGNORED
from perceiver_runtime.processing.heads.token_labels import TokenScheme
from perceiver_runtime.processing.tokenizer import CLS, PAD, SEP
from perceiver_runtime.processing.vocabulary import FIRST_BYTE
from perceiver_runtime.tasks.metrics.parts import SpanScore, render_spans
from samples import write_text_sample

LONGEST = 254
POOL = 8  # batches that are made together
SAMPLE = "Call Anna on +49 30 1234567 before 5 pm on 3 March 2027: 2.5 kg for €12.50, see https://example.com/order?id=7"
CONFIG = TokenClassificationConfig(
    encoder=EncoderConfig(
        num_latents=32,
        latent_channels=128,
        layers_per_block=3,
        self_attention_heads=4,
        cross_attention_heads=4,
        qk_channels=128,
        v_channels=128,
        self_attention_widening=2,
        attention_dropout=0.0,
    ),
    decoder=DecoderConfig(heads=4, qk_channels=128, v_channels=128, widening=2, query_residual=True),
    labels=LABELS,
    text=TextInputConfig(max_positions=LONGEST + 2, channels=128),
    neighbours=2,
    aggregation="viterbi",
)


def byte_labels(example: Labelled) -> tuple[bytes, list[int]]:
    """A text's bytes and the number of each byte's label."""
    starts = [0]
    for character in example.text:
        starts.append(starts[-1] + len(character.encode()))
    labels = [0] * starts[-1]
    for start, end, label in example.spans:
        labels[starts[start] : starts[end]] = [LABELS.index(label)] * (starts[end] - starts[start])
    return example.text.encode(), labels


def window(content: bytes, labels: list[int], first: int) -> tuple[bytes, list[int]]:
    """At most `LONGEST` bytes from `first`; what is cut of a field there has no label."""
    last, kept = first + LONGEST, list(labels)
    for edge, step in ((first, 1), (last - 1, -1)):
        inside = 0 < edge < len(labels) - 1 and labels[edge] > 0 and labels[edge - step] == labels[edge]
        while inside and first <= edge < last and labels[edge] == labels[edge - step]:
            kept[edge] = IGNORED
            edge += step
    return content[first:last], kept[first:last]


def batch_of(rows: Sequence[tuple[bytes, list[int]]]) -> tuple[Tensor, Tensor]:
    """input_ids and labels (B, L), `[CLS]` and `[SEP]` without a field."""
    ids = [torch.tensor([CLS, *(byte + FIRST_BYTE for byte in content), SEP]) for content, _ in rows]
    own = [torch.tensor([0, *labels, 0]) for _, labels in rows]
    pad = torch.nn.utils.rnn.pad_sequence
    return pad(ids, batch_first=True, padding_value=PAD), pad(own, batch_first=True, padding_value=IGNORED)


def held_out(synsets: Sequence[Synset], seed: int, *, kept: bool, each: int) -> list[Labelled]:
    """Texts of held-out templates, words and glosses, `each` of a template; `kept` with formats of values never trained on."""
    draw = source(synsets, seed, held_out=True, kept=kept)
    texts = [labelled(filled(draw, template)) for template in HELD_OUT for _ in range(each)]
    return [example for example in texts if len(example.text.encode()) <= LONGEST]


class _Answer(list):  # type: ignore[type-arg]
    text = ""


@torch.no_grad()
def score(model: TokenClassifier, examples: Sequence[Labelled]) -> dict[str, object]:
    """Precision, recall and F1 of spans, as `perceiver evaluate` has them."""
    device = next(model.parameters()).device
    scheme = TokenScheme(model.config.labels, model.config.scheme, model.config.outside)
    counted = SpanScore(sorted(scheme.span_labels()))
    ordered = sorted(examples, key=lambda example: len(example.text))
    for start in range(0, len(ordered), 50):
        own = ordered[start : start + 50]
        ids, _ = batch_of([byte_labels(example) for example in own])
        found = model(ids.to(device), (ids != PAD).long().to(device)).softmax(-1).cpu().numpy()
        for example, probabilities in zip(own, found):
            answer = _Answer(
                scheme.spans(example.text, probabilities[1 : 1 + len(example.text.encode())], model.config.aggregation)
            )
            answer.text = example.text
            counted.add(answer, set(example.spans))
    return counted.result()


def describe(result: dict[str, object]) -> str:
    """In a line."""
    of_labels: Iterable[dict[str, object]] = result["labels"]  # type: ignore[assignment]
    return f"F1 {result['f1']:.4f} (" + ", ".join(f"{each['label']} {each['f1']:.3f}" for each in of_labels) + ")"


def row(draw: Draw) -> tuple[bytes, list[int]]:
    """A text of up to `LONGEST` bytes; some begin or end inside another."""
    content, labels = byte_labels(labelled(passage(draw, draw.random.randint(20, 400))))
    room = len(content) - LONGEST
    return window(content, labels, draw.random.randint(0, room) if room > 0 and draw.chance(0.7) else 0)


def batches(draw: Draw, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Without end, of texts of like lengths, so that little is padding."""
    while True:
        pool = sorted((row(draw) for _ in range(size * POOL)), key=lambda each: len(each[0]))
        for place in draw.random.sample(range(POOL), POOL):
            yield batch_of(pool[place * size : (place + 1) * size])


def write_csv(file: Path, examples: Sequence[Labelled]) -> None:
    """As `perceiver evaluate` reads it: columns text and spans."""
    with file.open("w", newline="", encoding="utf-8") as opened:
        table = csv.writer(opened, lineterminator="\n")
        table.writerow(("text", "spans"))
        for example in examples:
            spans = [{"start": start, "end": end, "label": label} for start, end, label in example.spans]
            table.writerow((example.text, json.dumps(spans)))


def main() -> None:
    """Train, or evaluate a checkpoint."""
    parser = loop.arguments(__doc__, out="fields-small", minutes=60, batch=16)
    parser.add_argument("--wordnet", type=Path, default=FOLDER, help="folder with WordNet's data files")
    parser.add_argument("--evaluate", metavar="CHECKPOINT", help="print the F1 of a checkpoint on held-out templates")
    parser.add_argument(
        "--write-held-out", type=Path, metavar="FILE", help="write four texts of each held-out template as a table"
    )
    options = parser.parse_args()
    synsets = read_synsets(options.wordnet)
    if options.write_held_out:
        write_csv(options.write_held_out, held_out(synsets, 7, kept=False, each=4))
        return
    if options.evaluate:
        model = load_checkpoint(options.evaluate)
        for kept, what in ((False, "held-out templates:"), (True, "held-out templates and formats of values:")):
            print("\n".join([what, *render_spans(score(model, held_out(synsets, 1, kept=kept, each=20)))]))
        return
    torch.manual_seed(options.seed)
    model = TokenClassifier(CONFIG)
    torch.nn.init.normal_(model.preprocessor.embedding.weight, std=0.1)
    start_text(model.encoder, model.preprocessor.positions.table)
    read_bytes_near(model.decoder.cross_attention.attention, [-6, -2, 2, 6], gain=0.9, width=1.0)
    model.to(options.device)
    made: Iterator[tuple[Tensor, Tensor]] | None = None
    measured = held_out(synsets, 2, kept=False, each=2), held_out(synsets, 3, kept=True, each=2)

    def loss(generator: torch.Generator) -> Tensor:
        nonlocal made
        if made is None:
            seed = int(torch.randint(1 << 30, (1,), generator=generator))
            made = batches(source(synsets, seed, held_out=False), options.batch)
        ids, labels = next(made)
        ids = ids.to(options.device)
        with torch.autocast(torch.device(options.device).type, torch.bfloat16):
            logits = model(ids, (ids != PAD).long())
        return fill_mask_loss(logits.float(), labels.to(options.device))

    def save() -> None:
        save_checkpoint(model, options.out, dtype=torch.float16)
        write_text_sample(options.out, SAMPLE)

    def evaluate() -> str:
        return "; with kept formats ".join(describe(score(model, each)) for each in measured)

    loop.train(model, options, loss=loss, evaluate=evaluate, save=save, learning_rate=1.5e-3, evaluate_every=400)


if __name__ == "__main__":
    main()
