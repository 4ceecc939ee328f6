"""Train the small masked-bytes checkpoint that ships with perceiver_io.

    python models/training/fill_mask.py --minutes 45 --out fill-mask-small
    python models/training/fill_mask.py --evaluate fill-mask-small

On WordNet's glosses (wordnet.py), half of the texts with scattered bytes hidden, half with whole words. The checkpoint is in
transformers' layout.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import loop
import numpy as np
import torch
from local_start import BYTE_FREQUENCIES, TEXT_CODE, read_bytes_near, start_text, write_places
from masking import Batch, make_batch
from numpy.typing import NDArray
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
from perceiver_runtime.processing.tokenizer import CLS, MASK, SEP, pad
from perceiver_runtime.processing.vocabulary import FIRST_BYTE
from perceiver_runtime.tasks.fill_mask.byte_search import search
from samples import write_text_sample

CHANNELS, LONGEST = 256, 254
SAMPLE = "a small boat that is moved[MASK*3] oars"
CONFIG = FillMaskConfig(
    encoder=EncoderConfig(
        num_latents=64,
        latent_channels=256,
        layers_per_block=6,
        self_attention_heads=8,
        cross_attention_heads=8,
        qk_channels=256,
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


def packed(texts: list[bytes], generator: torch.Generator) -> list[bytes]:
    """The texts in random order, most of them joined until a row is full, so that few bytes are padding."""
    rows, row = [], b""
    for number in torch.randperm(len(texts), generator=generator).tolist():
        text = texts[number]
        row = row + b"; " + text if row else text
        if len(row) >= LONGEST or torch.rand(1, generator=generator) < 0.1:
            rows.append(row[:LONGEST])
            row = b""
    return rows


def batches(texts: list[bytes], size: int, generator: torch.Generator) -> Iterator[Batch]:
    """Without end, texts in random order."""
    while True:
        rows = packed(texts, generator)
        for start in range(0, len(rows) - size, size):
            yield make_batch(rows[start : start + size], words=None, generator=generator)


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


@torch.no_grad()
def word_accuracy(model: MaskedLanguageModel, texts: list[bytes], words: set[bytes]) -> float:
    """How often a word of `words`, masked with the space before it, is among the three best that a search of 10 beams finds.

    One word of each text that has any, the middle one.
    """
    device = model.output_bias.device

    def logits(rows: Sequence[Sequence[int]], positions: Sequence[Sequence[int]]) -> list[NDArray[np.float32]]:
        input_ids, attention_mask = pad(rows)
        latents = model.encode(torch.from_numpy(input_ids).to(device), torch.from_numpy(attention_mask).to(device))
        return list(model.decode(latents, torch.tensor(positions, device=device)).cpu().numpy())

    right = total = 0
    for text in texts:
        words_here = [match for match in re.finditer(rb" [a-z]+", text) if match.group()[1:] in words]
        if not words_here:
            continue
        start, end = words_here[len(words_here) // 2].span()
        ids = [CLS, *(byte + FIRST_BYTE for byte in text), SEP]
        places = list(range(1 + start, 1 + end))
        truth = [ids[place] for place in places]
        ids[1 + start : 1 + end] = [MASK] * len(places)
        found = search(ids, places, logits, beams=10, written=np.arange(FIRST_BYTE, FIRST_BYTE + 256))
        right += truth in [answer for answer, _ in found[:3]]
        total += 1
    return right / total


def common_words(texts: list[bytes], count: int = 100) -> set[bytes]:
    """The commonest words of 2 to 5 letters."""
    found = Counter(word for text in texts for word in re.findall(rb"(?<= )[a-z]{2,5}\b", text))
    return {word for word, _ in found.most_common(count)}


@torch.no_grad()
def start(model: MaskedLanguageModel, texts: list[bytes]) -> None:
    """Begin with each byte as likely as in `texts`, and with queries and latents that read near bytes.

    Without the first, hundreds of steps go into learning how frequent each byte is, and drift ruins the second.
    """
    counts = torch.bincount(torch.frombuffer(bytearray(b"".join(texts)), dtype=torch.uint8), minlength=256)
    model.output_bias.fill_(math.log(1e-7))
    model.output_bias[FIRST_BYTE:] = torch.log(counts / counts.sum() + 1e-7)
    torch.nn.init.normal_(model.preprocessor.embedding.weight, std=0.1)
    start_text(model.encoder, model.preprocessor.positions.table)
    write_places(model.queries.table, TEXT_CODE, torch.arange(LONGEST + 2)[:, None] * BYTE_FREQUENCIES, amplitude=0.2)
    read_bytes_near(model.decoder.cross_attention.attention, [-5, -3, -2, -1, 0, 1, 2, 4], gain=0.9, width=1.0)


def main() -> None:
    """Train, or evaluate a checkpoint."""
    parser = loop.arguments(__doc__, out="fill-mask-small", minutes=45, batch=32)
    parser.add_argument("--wordnet", type=Path, default=FOLDER, help="folder with WordNet's data files")
    parser.add_argument("--evaluate", metavar="CHECKPOINT", help="print the accuracy of a checkpoint on held-out glosses")
    options = parser.parse_args()
    synsets = read_synsets(options.wordnet)
    held_out = texts_of(synsets, held_out=True)

    def describe(model: MaskedLanguageModel, texts: list[bytes]) -> str:
        scattered, whole = (accuracy(model, texts, words=words) for words in (False, True))
        return f"hidden bytes right on {len(texts)} held-out texts: scattered {scattered:.4f}, of whole words {whole:.4f}"

    if options.evaluate:
        model = load_checkpoint(options.evaluate)
        print(describe(model, held_out))
        glosses = [synset.gloss.encode()[:LONGEST] for synset in synsets if synset.held_out][::5]
        share = word_accuracy(model, glosses, common_words(texts_of(synsets, held_out=False)))
        print(f"of the 100 commonest words of 2 to 5 letters, masked in held-out glosses, in the best three: {share:.3f}")
        return
    torch.manual_seed(options.seed)
    texts = texts_of(synsets, held_out=False)
    model = MaskedLanguageModel(CONFIG)
    start(model, texts)
    model.to(options.device)
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
        write_text_sample(options.out, SAMPLE)

    def evaluate() -> str:
        return describe(model, held_out[::10])

    loop.train(model, options, loss=loss, evaluate=evaluate, save=save)


if __name__ == "__main__":
    main()
