"""Tokens that a checkpoint added, against transformers' PerceiverTokenizer with the same files."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from heads import HEADS, save_random_head
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AddedToken, PerceiverTokenizer

import perceiver_runtime as pr
from perceiver_deploy import export_bundle
from perceiver_deploy.tasks.tokenizer_config import read_vocabulary
from perceiver_runtime import InputError, IntegrityError
from perceiver_runtime.processing import tokenizer
from perceiver_runtime.processing.text import TextProcessor
from perceiver_runtime.processing.vocabulary import SPECIAL_TOKENS, Vocabulary

NAMES = ("[USER]", "[USER]]", "[BOT]", "<b>", "<br>", " x", "東", "word", "words", "ab", "bc")
FLAGS = st.fixed_dictionaries({flag: st.booleans() for flag in ("lstrip", "rstrip", "single_word")})
PIECES = st.sampled_from([*SPECIAL_TOKENS, *NAMES, " ", "  ", "\n", "\u3000", "a", "b", "c", "é", "-", "[US", "wor", "[MASK"])
TEXTS = st.lists(st.one_of(PIECES, st.text(st.characters(exclude_categories=["Cs"]), max_size=2)), min_size=1, max_size=9)
SETTINGS = settings(max_examples=150, deadline=None)
ENTRY = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": True, "special": False}


def ours_and_theirs(files: dict[str, Any]) -> tuple[TextProcessor, PerceiverTokenizer]:
    """Both with the same files. Raises `InputError` for what we refuse."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).write_text(json.dumps(content))
        constants = TextProcessor(2048, read_vocabulary(Path(folder))).to_json()
        return TextProcessor.from_json(json.loads(json.dumps(constants))), PerceiverTokenizer.from_pretrained(folder)


def check(ours: TextProcessor, theirs: PerceiverTokenizer, text: str) -> None:
    ids = ours.encode(text, truncate=False) if ours.tokenize(text) else [tokenizer.CLS, tokenizer.SEP]
    assert ids == theirs(text)["input_ids"]
    assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True)
    assert ours.decode(ours.tokenize(text, plain=True)) == text


@given(st.dictionaries(st.sampled_from(NAMES), FLAGS, max_size=5), st.sets(st.sampled_from(NAMES), max_size=2), TEXTS)
@SETTINGS
def test_ids_of_any_text(added: dict[str, dict[str, bool]], special: set[str], pieces: list[str]) -> None:
    """Saved by transformers, with any flags."""
    theirs = PerceiverTokenizer()
    theirs.add_tokens([AddedToken(name, **flags) for name, flags in added.items()])
    theirs.add_special_tokens({"additional_special_tokens": sorted(special - set(added))})
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        ours = TextProcessor(2048, read_vocabulary(Path(folder)))
        check(ours, PerceiverTokenizer.from_pretrained(folder), "".join(pieces))
    assert ours.vocabulary.size == len(theirs) == 262 + len(set(added) | special)


TOKENS = st.sampled_from(["[USER]", "[BOT]", "[MASK]", "[SEP]", "é", ""])
VALUES = st.one_of(TOKENS, FLAGS.map(lambda flags: ENTRY | flags | {"content": "[MASK]"}), st.sampled_from([None, 3, True]))
LISTS = st.lists(TOKENS, max_size=3)
IDS = st.sampled_from([3, 5, 100, 262, 263, 264])
CONFIGS = st.fixed_dictionaries(
    {},
    optional={
        "added_tokens_decoder": st.dictionaries(
            IDS.map(str), st.tuples(TOKENS, FLAGS).map(lambda both: ENTRY | both[1] | {"content": both[0]}), max_size=3
        ),
        "additional_special_tokens": LISTS,
        "extra_special_tokens": LISTS,
        "mask_token": VALUES,
        "unk_token": TOKENS,
        "truncation_side": st.sampled_from(["left", "right"]),
        "split_special_tokens": st.booleans(),
    },
)
MAPS = st.fixed_dictionaries(
    {}, optional={"additional_special_tokens": LISTS, "extra_special_tokens": LISTS, "mask_token": VALUES}
)


@given(CONFIGS, MAPS, st.dictionaries(TOKENS, IDS, max_size=3), TEXTS)
@SETTINGS
def test_any_files_are_read_as_transformers_reads_them_or_refused(
    config: dict[str, Any], special_map: dict[str, Any], added: dict[str, int], pieces: list[str]
) -> None:
    files = {"tokenizer_config.json": config, "special_tokens_map.json": special_map, "added_tokens.json": added}
    try:
        ours, theirs = ours_and_theirs(files)
    except (InputError, AttributeError, ValueError, TypeError):  # ours, or transformers' own on what it cannot load
        return
    assert ours.vocabulary.size == len(theirs)
    check(ours, theirs, "".join(pieces))


@pytest.mark.parametrize(
    "files",
    [
        {"added_tokens.json": {"[USER]": 262, "[BOT]": 263}},
        {"special_tokens_map.json": {"additional_special_tokens": ["[USER]", "[BOT]"]}},
        {"tokenizer_config.json": {"additional_special_tokens": ["[USER]", "[BOT]"]}},
        {
            "added_tokens.json": {"[USER]": 262, "[BOT]": 263},
            "special_tokens_map.json": {"additional_special_tokens": ["[BOT]"]},
            "tokenizer_config.json": {"tokenizer_class": "PerceiverTokenizer"},
        },
        {
            "tokenizer_config.json": {
                "added_tokens_decoder": {"262": ENTRY | {"content": "[USER]"}, "263": ENTRY | {"content": "[BOT]"}}
            }
        },
    ],
)
def test_files_of_any_version(files: dict[str, Any]) -> None:
    ours, theirs = ours_and_theirs(files)
    assert ours.encode("[USER] hi[BOT]yes [USER", truncate=False)[:3] == [tokenizer.CLS, 262, 38]
    check(ours, theirs, "[USER] hi[BOT]yes [MASK] [USER")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"added_tokens.json": {"[USER]": 264}}, "ids .264., expected 262 and on without gaps"),
        ({"added_tokens.json": {"[USER]": 100}}, "'.USER.' has the id 100, which another token has"),
        ({"added_tokens.json": {"[USER]": "262"}}, "'262' is no token's id"),
        ({"added_tokens.json": {"é": 262}}, "'é' is empty, a byte"),
        ({"added_tokens.json": {"x[MASK]y": 262}}, r"'x.MASK.y' has the token '.MASK.' inside"),
        ({"added_tokens.json": {"[MASK*3]": 262}}, "looks like .MASK.9., which stands for nine masks here"),
        ({"added_tokens.json": {"[A]": 262, "[B]": 262}}, "gives two tokens one id"),
        ({"tokenizer_config.json": {"mask_token": "<mask>"}}, "mask_token is '<mask>', only '.MASK.' is known"),
        ({"tokenizer_config.json": {"unk_token": "[UNK]"}}, "unk_token is '.UNK.', and no file gives its id"),
        ({"tokenizer_config.json": {"truncation_side": "left"}}, "truncation_side is 'left'"),
        ({"tokenizer_config.json": {"split_special_tokens": True}}, "split_special_tokens is True"),
        ({"tokenizer_config.json": {"added_tokens_decoder": {"262": {"content": "[A]", "lstrip": 1}}}}, "not true or false"),
        ({"tokenizer_config.json": {"added_tokens_decoder": {"262": 5}}}, "added_tokens_decoder holds 5, expected an object"),
        ({"special_tokens_map.json": {"additional_special_tokens": [{"content": "[A]"}]}}, "transformers takes for the name"),
    ],
)
def test_refused_by_name(files: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ours_and_theirs(files)


TASKS = {"PerceiverForMaskedLM": "fill-mask", "PerceiverForSequenceClassification": "text-classification"}


@pytest.fixture(scope="module", params=TASKS)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, PerceiverTokenizer]:
    """A bundle, transformers' model, and its tokenizer with three added tokens."""
    folder = tmp_path_factory.mktemp("added")
    config = next(head.tiny for head in HEADS if head.name == request.param)
    model = save_random_head(folder / "saved", request.param, config | {"vocab_size": 265})
    theirs = PerceiverTokenizer()
    theirs.add_tokens([AddedToken("[USER]", rstrip=True), "東京"])
    theirs.add_special_tokens({"additional_special_tokens": ["[BOT]"]})
    theirs.save_pretrained(folder / "saved")
    export_bundle(output=folder / "bundle", checkpoint=folder / "saved")
    return folder / "bundle", model, theirs


@torch.no_grad()
def test_a_bundle_answers_as_transformers(exported: tuple[Path, Any, PerceiverTokenizer]) -> None:
    bundle, model, theirs = exported
    text = "[USER]  where is[MASK] 東京?[BOT]"
    inputs = theirs(text, return_tensors="pt")
    expected = model(inputs["input_ids"], inputs["attention_mask"]).logits[0]
    with pr.load(bundle) as pipeline:
        if pipeline.manifest.task == "fill-mask":
            (span,) = pipeline(text, top_k=259)
            chances = expected[inputs["input_ids"][0].tolist().index(3)].softmax(-1)
            written = [*range(6, 264)]  # not the special [BOT]
            assert len(span.candidates) == len(written)
            assert span.candidates[0].text == theirs.decode([written[int(chances[written].argmax())]])
            by_text = {candidate.text: candidate.probability for candidate in span.candidates}
            assert by_text["東京"] == pytest.approx(float(chances[263]), rel=1e-3)
            assert "東京" in pipeline.fill(text)
            assert len(pipeline(text, top_k=3, beams=3)[0].candidates) == 3
        else:
            found = {label.label: label.probability for label in pipeline(text)}
            assert list(found.values()) == pytest.approx(sorted(expected.softmax(-1).tolist())[::-1], rel=1e-3)
            assert pipeline(text, plain=True) != pipeline(text)


def test_a_tokenizer_that_does_not_fit_the_model(exported: tuple[Path, Any, PerceiverTokenizer], tmp_path: Path) -> None:
    saved = shutil.copytree(exported[0].parent / "saved", tmp_path / "saved")
    (saved / "tokenizer_config.json").write_text("{}")
    (saved / "added_tokens.json").write_text('{"[USER]": 262}')
    with pytest.raises(InputError, match="the checkpoint has 265 tokens, its tokenizer 263"):
        export_bundle(output=tmp_path / "bundle", checkpoint=saved)


def test_masks_beside_added_tokens() -> None:
    ours, _ = ours_and_theirs(
        {"tokenizer_config.json": {"added_tokens_decoder": {"262": ENTRY | {"content": "[A]", "rstrip": True}}}}
    )
    assert ours.tokenize("[A] [MASK*3]b") == ours.tokenize("[A] [MASK][MASK][MASK]b") == [262, 3, 3, 3, 104]


@pytest.mark.parametrize(
    "entries", [5, [5], [{"content": "[A]", "id": 300}], [{"content": "", "id": 262}], [{"content": "[A]"}]]
)
def test_a_manifest_that_makes_no_sense(entries: Any) -> None:
    with pytest.raises(IntegrityError, match="added_tokens"):
        Vocabulary.from_json(entries)
