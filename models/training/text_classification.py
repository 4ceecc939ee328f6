"""Train the small text classifier that ships with perceiver_io: what kind of thing a definition is of.

    python models/training/text_classification.py --minutes 25 --out glosses-small
    python models/training/text_classification.py --evaluate glosses-small

On WordNet's glosses of nouns (wordnet.py), 26 classes, starting from the masked-bytes checkpoint. The checkpoint is in
transformers' layout.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import loop
import torch
from torch import Tensor
from wordnet import FOLDER, NOUN_CLASSES, Synset, read_synsets

from perceiver_io import (
    DecoderConfig,
    MaskedLanguageModel,
    TextClassificationConfig,
    TextClassifier,
    classification_loss,
    load_checkpoint,
    save_checkpoint,
)
from perceiver_runtime.processing.tokenizer import CLS, MASK, PAD, SEP
from perceiver_runtime.processing.vocabulary import FIRST_BYTE
from samples import write_text_sample

LATENTS, LONGEST = 32, 126  # of the masked-bytes model's 64 latents, those that begin at the first half of its 256 places
SAMPLE = "a small brown bird that nests in barns and sings at dawn"
HIDDEN = 0.05  # share of bytes masked in training

Example = tuple[bytes, int]  # gloss, class


def start_from(pretrained: MaskedLanguageModel) -> TextClassifier:
    """A classifier with the encoder of a masked-bytes model, of half its length."""
    config = pretrained.config
    encoder = replace(config.encoder, num_latents=LATENTS, attention_dropout=0.1)
    text = replace(config.text, max_positions=LONGEST + 2)
    model = TextClassifier(TextClassificationConfig(encoder, DecoderConfig(query_residual=True), tuple(NOUN_CLASSES), text))
    weights = pretrained.state_dict()
    for name, own in model.state_dict().items():
        if not name.startswith("decoder."):
            own.copy_(weights[name][: len(own)])
    return model


def inputs(texts: list[bytes]) -> tuple[Tensor, Tensor]:
    """input_ids and attention_mask (B, L), cut to the model's length."""
    rows = [torch.tensor([CLS, *(byte + FIRST_BYTE for byte in text[:LONGEST]), SEP]) for text in texts]
    input_ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)
    return input_ids, (input_ids != PAD).long()


def batches(examples: list[Example], size: int, generator: torch.Generator) -> Iterator[list[Example]]:
    """Without end, in random order."""
    while True:
        order = torch.randperm(len(examples), generator=generator).tolist()
        for start in range(0, len(order) - size + 1, size):
            yield [examples[number] for number in order[start : start + size]]


@torch.no_grad()
def accuracy(model: TextClassifier, examples: list[Example]) -> float:
    """The share of glosses that get the right class."""
    device = next(model.parameters()).device
    ordered, right = sorted(examples, key=lambda example: len(example[0])), 0
    for start in range(0, len(ordered), 100):
        texts, classes = zip(*ordered[start : start + 100])
        input_ids, mask = inputs(list(texts))
        found = model(input_ids.to(device), mask.to(device)).argmax(-1).cpu()
        right += int((found == torch.tensor(classes)).sum())
    return right / len(examples)


def describe(model: TextClassifier, examples: list[Example], training: list[Example]) -> str:
    """Top-1, and what the commonest class of training gets."""
    commonest = Counter(number for _, number in training).most_common(1)[0][0]
    share = sum(number == commonest for _, number in examples) / len(examples)
    name = NOUN_CLASSES[commonest]
    return f"top-1 {accuracy(model, examples):.4f} on {len(examples)} held-out glosses (always {name}: {share:.4f})"


def main() -> None:
    """Train, or evaluate a checkpoint."""
    parser = loop.arguments(__doc__, out="glosses-small", minutes=25, batch=64)
    parser.add_argument(
        "--start-from", default="fill-mask-small", metavar="CHECKPOINT", help="masked-bytes model to begin with"
    )
    parser.add_argument("--wordnet", type=Path, default=FOLDER, help="folder with WordNet's data files")
    parser.add_argument("--evaluate", metavar="CHECKPOINT", help="print the accuracy of a checkpoint on held-out glosses")
    options = parser.parse_args()
    synsets: list[Synset] = [synset for synset in read_synsets(options.wordnet) if synset.noun_class >= 0 and synset.gloss]
    held_out, training = (
        [(synset.gloss.encode(), synset.noun_class) for synset in synsets if synset.held_out == kept] for kept in (True, False)
    )
    if options.evaluate:
        print(describe(load_checkpoint(options.evaluate), held_out, training))
        return
    torch.manual_seed(options.seed)
    model = start_from(load_checkpoint(options.start_from)).to(options.device)
    source: Iterator[list[Example]] | None = None

    def loss(generator: torch.Generator) -> Tensor:
        nonlocal source
        source = source or batches(training, options.batch, generator)
        texts, classes = zip(*next(source))
        input_ids, mask = inputs(list(texts))
        hidden = (torch.rand(input_ids.shape, generator=generator) < HIDDEN) & (input_ids >= FIRST_BYTE)
        input_ids[hidden] = MASK
        with torch.autocast(torch.device(options.device).type, torch.bfloat16):
            logits = model(input_ids.to(options.device), mask.to(options.device))
        return classification_loss(logits.float(), torch.tensor(classes).to(options.device), problem="single_label")

    def save() -> None:
        save_checkpoint(model, options.out, dtype=torch.float16, layout="huggingface")
        write_text_sample(options.out, SAMPLE)

    def evaluate() -> str:
        return describe(model, held_out[::4], training)

    loop.train(model, options, loss=loss, evaluate=evaluate, save=save, learning_rate=5e-4, evaluate_every=250)


if __name__ == "__main__":
    main()
