"""The shipped text models truly know some English: the figures of their cards, on glosses that were held out.

held_out_glosses.tsv is a third of the nouns' held-out glosses, of WordNet 3.0 (its licence: WORDNET_LICENSE).
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PerceiverForMaskedLM, PerceiverForSequenceClassification

import perceiver_runtime as pr
from perceiver_io import SHIPPED, load_checkpoint

DATA = Path(__file__).parent / "data/held_out_glosses.tsv"
CLASSES, GLOSSES = zip(*(line.split("\t") for line in DATA.read_text(encoding="utf-8").splitlines()))
COMMON = "that|with|for|and|the|of|in|to|or|by|from|used|is|on|an|who|as|not|have|one|are|it|at|which|made|small"


@pytest.fixture
def fill_mask(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The recipe's module."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "models/training"))
    import fill_mask

    return fill_mask


def test_masked_bytes(fill_mask: Any) -> None:
    """60 % and more at 15 % masking; answers of another text are worth little."""
    model = load_checkpoint("fill-mask-small")
    texts = [gloss.encode()[: fill_mask.LONGEST] for gloss in GLOSSES]
    assert fill_mask.accuracy(model, texts, words=False) >= 0.60
    with torch.no_grad():
        model.queries.table.copy_(model.queries.table.roll(1, dims=0))  # each answer for the byte before
    assert fill_mask.accuracy(model, texts[:200], words=False) < 0.4


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "head"),
    [("fill-mask-small", PerceiverForMaskedLM), ("glosses-small", PerceiverForSequenceClassification)],
)
def test_transformers_loads_them(name: str, head: Any) -> None:
    theirs = head.from_pretrained(SHIPPED[name], dtype=torch.float32).eval()
    ids = torch.randint(6, 262, (2, 100), generator=torch.Generator().manual_seed(0))
    found = load_checkpoint(name)(ids, torch.ones_like(ids))
    expected = theirs(inputs=ids, attention_mask=torch.ones_like(ids)).logits
    torch.testing.assert_close(found, expected[:, : found.shape[1]] if found.ndim == 3 else expected, rtol=0, atol=1e-4)
    assert sum(path.stat().st_size for path in SHIPPED[name].rglob("*") if path.is_file()) < 12e6


def test_common_words(shipped: Callable[..., Path]) -> None:
    """A masked common word of a sentence never seen is among the best three more often than not, and of another seldom."""
    cases = [(gloss, match) for gloss in GLOSSES[::5] if (match := re.search(rf" ({COMMON})(?= )", gloss))][:60]
    words = [match.group() for _, match in cases]
    right = wrong = 0
    with pr.load(shipped("fill-mask"), device="cpu") as mlm:
        for number, (gloss, match) in enumerate(cases):
            masked = f"{gloss[: match.start()]}[MASK*{len(match.group())}]{gloss[match.end() :]}"
            best = [candidate.text for candidate in mlm(masked, top_k=3, beams=10, truncate=True)[0].candidates]
            right += words[number] in best
            wrong += words[number - 7] in best
    assert right > 0.5 * len(cases)
    assert wrong < 0.4 * len(cases)


@pytest.mark.parametrize(("lower", "least"), [("fp16", 0.98), ("int8", 0.93)])
def test_lower_precision_gives_the_same_bytes(lower: Any, least: float, shipped: Callable[..., Path]) -> None:
    answers = []
    for precision in ("fp32", lower):
        with pr.load(shipped("fill-mask", precision=precision), device="cpu") as pipeline:
            answers.append([pipeline.fill(f"{gloss[:20]}[MASK*3]{gloss[23:80]}") for gloss in GLOSSES[:100] if len(gloss) > 30])
    same = sum(one == other for one, other in zip(*answers)) / len(answers[0])
    assert same >= least
    assert answers[0] != answers[0][::-1]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_classes_of_definitions(precision: Any, shipped: Callable[..., Path]) -> None:
    """The card's figure, of 26 classes, through the bundle, in each precision."""
    with pr.load(shipped("text-classification", precision=precision), device="cpu") as classify:
        found = []
        for start in range(0, len(GLOSSES), 50):
            found += [labels[0].label for labels in classify(list(GLOSSES[start : start + 50]), top_k=1, truncate=True)]
    right = sum(label == truth for label, truth in zip(found, CLASSES)) / len(CLASSES)
    assert right >= 0.65
    assert sum(label == truth for label, truth in zip(found, CLASSES[::-1])) / len(CLASSES) < 0.35
