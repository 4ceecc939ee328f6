"""Tokenizers that are not bytes are refused by name. Added tokens: test_added_tokens.py."""

import json
from pathlib import Path

import pytest
from transformers import PerceiverTokenizer

from perceiver_deploy.tasks.tokenizer_config import read_vocabulary
from perceiver_runtime import InputError
from perceiver_runtime.processing.vocabulary import BYTES


def test_perceiver_s_own_files_are_taken(tmp_path: Path) -> None:
    assert read_vocabulary(tmp_path) == BYTES
    PerceiverTokenizer().save_pretrained(tmp_path)
    assert read_vocabulary(tmp_path) == BYTES


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("vocab.txt", "a", "vocab.txt is another tokenizer's file"),
        ("tokenizer_config.json", json.dumps({"tokenizer_class": "BertTokenizer"}), "tokenizer_class 'BertTokenizer'"),
        ("tokenizer_config.json", "[", "cannot be read"),
        ("added_tokens.json", "[]", "holds no JSON object"),
    ],
)
def test_others_are_refused(name: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        read_vocabulary(tmp_path)
