"""Train the small masked-bytes checkpoint that ships with perceiver_io.

    python models/training/fill_mask.py --minutes 150 --out fill-mask-small
    python models/training/fill_mask.py --evaluate fill-mask-small

On WordNet's glosses (wordnet.py), half of the texts with scattered bytes hidden, half with whole words. The checkpoint is in
transformers' layout.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import loop
import torch
from masking import Batch, make_batch
from torch import Tensor
from wordnet import FOLDER, Synset, read_synsets

from perceiver_io import (
    DecoderConfig,
    EncoderConfig,
    FillMaskConfig,
    MaskedLanguageModel,
    TextInputConfig,
    fill_mask_loss,
    load_checkpoint,
    save_checkpoint,
)

CHANNELS, LONGEST = 192, 254
CONFIG = FillMaskConfig(
    encoder=EncoderConfig(
        num_latents=64,
        latent_channels=256,
        layers_per_block=8,
        self_attention_heads=8,
        cross_attention_heads=8,
        self_attention_widening=2,
        attention_dropout=0.0,
    ),
    decoder=DecoderConfig(heads=8, qk_channels=256, v_channels=CHANNELS),
    text=TextInputConfig(max_positions=LONGEST + 2, channels=CHANNELS),
)


def texts_of(synsets: list[Synset], *, held_out: bool) -> list[bytes]:
    """Glosses, each alone and after its first word: "cat: feline mammal …"."""
    glosses = [(synset.words[0], synset.gloss) for synset in synsets if synset.held_out == held_out]
    texts = [gloss for _, gloss in glosses] + [f"{word}: {gloss}" for word, gloss in glosses]
    return [text.encode()[:LONGEST] for text in texts if text]


def batches(texts: list[bytes], size: int, generator: torch.Generator) -> Iterator[Batch]:
    """Without end: texts in random order, those of similar length together."""
    pools = 50
    while True:
        order = torch.randperm(len(texts), generator=generator).tolist()
        for start in range(0, len(order) - pools * size, pools * size):
            pool = sorted(order[start : start + pools * size], key=lambda number: len(texts[number]))
            for group in torch.randperm(pools, generator=generator).tolist():
                chosen = [texts[number] for number in pool[group * size : (group + 1) * size]]
                yield make_batch(chosen, words=None, generator=generator)


@torch.no_grad()
def accuracy(model: MaskedLanguageModel, texts: list[bytes], *, words: bool) -> float:
    """The share of hidden bytes that the model gets right."""
    device = model.output_bias.device
    generator = torch.Generator().manual_seed(1)
    right = total = 0
    for start in range(0, len(texts), 100):
        batch = Batch(*(part.to(device) for part in make_batch(texts[start : start + 100], words=words, generator=generator)))
        logits = model.decode(model.encode(batch.input_ids, batch.attention_mask), batch.positions)
        counted = batch.labels >= 0
        right += int((logits.argmax(-1) == batch.labels)[counted].sum())
        total += int(counted.sum())
    return right / total


def main() -> None:
    """Train, or evaluate a checkpoint."""
    parser = loop.arguments(__doc__, out="fill-mask-small", minutes=150, batch=96)
    parser.add_argument("--wordnet", type=Path, default=FOLDER, help="folder with WordNet's data files")
    parser.add_argument("--evaluate", metavar="CHECKPOINT", help="print the accuracy of a checkpoint on held-out glosses")
    options = parser.parse_args()
    synsets = read_synsets(options.wordnet)
    held_out = texts_of(synsets, held_out=True)

    def describe(model: MaskedLanguageModel, texts: list[bytes]) -> str:
        scattered, whole = (accuracy(model, texts, words=words) for words in (False, True))
        return f"hidden bytes right on {len(texts)} held-out texts: scattered {scattered:.4f}, of whole words {whole:.4f}"

    if options.evaluate:
        print(describe(load_checkpoint(options.evaluate), held_out))
        return
    torch.manual_seed(options.seed)
    model = MaskedLanguageModel(CONFIG).to(options.device)
    texts = texts_of(synsets, held_out=False)
    source: Iterator[Batch] | None = None

    def loss(generator: torch.Generator) -> Tensor:
        nonlocal source
        source = source or batches(texts, options.batch, generator)
        batch = Batch(*(part.to(options.device) for part in next(source)))
        with torch.autocast(torch.device(options.device).type, torch.bfloat16):
            logits = model.decode(model.encode(batch.input_ids, batch.attention_mask), batch.positions)
        return fill_mask_loss(logits.float(), batch.labels)

    def save() -> None:
        save_checkpoint(model, options.out, dtype=torch.float16, layout="huggingface")

    loop.train(model, options, loss=loss, evaluate=lambda: describe(model, held_out[:1000]), save=save)


if __name__ == "__main__":
    main()
