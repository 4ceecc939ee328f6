"""Tokenizers that are not bytes are refused by name."""

import json
from pathlib import Path

import pytest
from transformers import PerceiverTokenizer

from perceiver_deploy.tasks.tokenizer_config import check_tokenizer
from perceiver_runtime import InputError


def test_perceiver_s_own_files_are_taken(tmp_path: Path) -> None:
    check_tokenizer(tmp_path)
    PerceiverTokenizer().save_pretrained(tmp_path)
    check_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("vocab.txt", "a", "vocab.txt is another tokenizer's file"),
        ("tokenizer_config.json", json.dumps({"tokenizer_class": "BertTokenizer"}), "tokenizer_class 'BertTokenizer'"),
        ("tokenizer_config.json", "[", "cannot be read"),
        ("added_tokens.json", json.dumps({"[USER]": 262}), "added tokens .'.USER.'"),
    ],
)
def test_others_are_refused(name: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        check_tokenizer(tmp_path)


def test_added_tokens_are_refused(tmp_path: Path) -> None:
    theirs = PerceiverTokenizer()
    theirs.add_tokens(["[USER]"])
    theirs.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="added tokens"):
        check_tokenizer(tmp_path)
