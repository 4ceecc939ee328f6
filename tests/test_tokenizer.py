"""The tokenizer against transformers' PerceiverTokenizer."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PerceiverTokenizer

from perceiver_runtime import InputError
from perceiver_runtime.processing import tokenizer
from perceiver_runtime.processing.text import TextProcessor

THEIRS = PerceiverTokenizer()
PROCESSOR = TextProcessor(2048)
CHARACTERS = st.characters(exclude_categories=["Cs"])  # any but half characters, which UTF-8 cannot hold
PIECES = st.one_of(st.text(CHARACTERS), st.sampled_from([*tokenizer.SPECIAL_TOKENS, "[UNK]", "[MASK", " ", "\n", "  [CLS] "]))
TEXTS = st.lists(PIECES, max_size=6).map("".join)


@given(TEXTS.filter(bool))
@settings(max_examples=300, deadline=None)
def test_ids_of_any_text(text: str) -> None:
    assert PROCESSOR.encode(text, truncate=True) == THEIRS(text, truncation=True)["input_ids"]


@given(TEXTS.filter(bool), TEXTS, st.integers(4, 40))
@settings(max_examples=200, deadline=None)
def test_pairs_and_truncation(text: str, pair: str, length: int) -> None:
    expected = THEIRS(text, pair, truncation=True, max_length=length)["input_ids"]
    assert TextProcessor(length).encode((text, pair), truncate=True) == expected


@given(st.lists(TEXTS.filter(bool), min_size=1, max_size=4))
@settings(max_examples=50, deadline=None)
def test_padded_batches(texts: list[str]) -> None:
    expected = THEIRS(texts, padding=True, truncation=True, return_tensors="np")
    input_ids, attention_mask = PROCESSOR.batch(texts, truncate=True)
    assert input_ids.tolist() == expected["input_ids"].tolist()
    assert attention_mask.tolist() == expected["attention_mask"].tolist()


@given(st.lists(st.integers(0, 261)))
@settings(deadline=None)
def test_decoding_any_ids(ids: list[int]) -> None:
    assert tokenizer.decode(ids) == THEIRS.decode(ids, skip_special_tokens=True)


@given(st.text(CHARACTERS))
@settings(deadline=None)
def test_bytes_come_back(text: str) -> None:
    assert tokenizer.decode(number + 6 for number in text.encode()) == text


def test_mask_spans() -> None:
    assert tokenizer.tokenize("a[MASK*3]b") == [103, 3, 3, 3, 104]
    assert tokenizer.tokenize("a[MASK*x]") == tokenizer.tokenize("a") + [byte + 6 for byte in b"[MASK*x]"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x" * 2047, r"the text has 2047 bytes, the model takes 2046: shorten it, or truncate it \(truncate=True\)"),
        ("", "the text is empty: give at least one character"),
        ("a\ud800b", r"the text has half a character \('\\ud800'\), which UTF-8 cannot hold"),
        ("[MASK*0]", r"\[MASK\*0\] asks for 0 masks: give 1 to 65536"),
        ("[MASK*99999999999999]", "asks for 999999999 masks: give 1 to 65536"),
        (b"bytes", "a text should be a str, found bytes: decode bytes, and read files, first"),
    ],
)
def test_refusals(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        PROCESSOR.encode(text, truncate=False)


def test_plain_texts_have_no_special_tokens() -> None:
    """What a stranger wrote is bytes, whatever it looks like; else it is read as transformers reads it."""
    text = "[CLS] a[MASK]b [MASK*3][SEP][PAD]"
    assert tokenizer.decode(PROCESSOR.encode(text, truncate=False, plain=True)) == text
    assert PROCESSOR.encode((text, text), truncate=False, plain=True).count(tokenizer.SEP) == 2
    assert tokenizer.MASK in PROCESSOR.encode(text, truncate=False)


def test_many_masks_are_refused_before_they_are_made() -> None:
    with pytest.raises(InputError, match="more than 1048576 tokens: give fewer masks"):
        tokenizer.tokenize("[MASK*65536]" * 1600)
    with pytest.raises(InputError, match="more than the 1048576 allowed: shorten it"):
        tokenizer.tokenize("a" * (tokenizer.MAX_TOKENS + 1))


def test_the_wrong_text_of_several_is_named() -> None:
    with pytest.raises(InputError, match="text 2 of 3: the text is empty"):
        PROCESSOR.encode_all(["a", "", "b"], truncate=False)
    with pytest.raises(InputError, match=r"^the text is empty"):
        PROCESSOR.encode_all([""], truncate=False)
