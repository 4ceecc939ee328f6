"""Each of transformers' seven heads, saved with `save_pretrained`, against our loader and our reference."""

from pathlib import Path
from typing import Any

import pytest
import torch
from heads import HEADS, Head, Inputs, random_head, save_random_head
from published import model_frames, real_frames
from transformers import PerceiverConfig, PerceiverModel
from transformers.models.perceiver import modeling_perceiver as theirs

from perceiver_io import TASKS, load_checkpoint, record
from perceiver_io.loading.checkpoint import find_checkpoint

LIMIT = 1e-4  # of the answer's own spread
PIXELS, PATCHES = torch.tensor([0, 17, 1000, 3000]), torch.tensor([0, 3, 15])
NAMES = [head.name.removeprefix("PerceiverFor") for head in HEADS]


def spread(answers: torch.Tensor) -> float:
    """How much answers (inputs or queries, channels) differ from one another: the standard deviation over the first axis."""
    return float(answers.std(dim=0).mean())


def answer_of_transformers(head: Head, model: Any, inputs: Inputs) -> dict[str, torch.Tensor]:
    """transformers' outputs, each with what differs (inputs, positions, pixels) along the first axis."""
    if head.task == "multimodal":
        points = {"image": PIXELS, "audio": PATCHES, "label": None}
        output = model(inputs=dict(inputs), subsampled_output_points=points, output_hidden_states=True)
        samples = output.logits["audio"].view(len(PATCHES), -1)
        found = {"rgb": output.logits["image"][0], "samples": samples, "label": output.logits["label"]}
    else:
        output = model(**inputs, output_hidden_states=True)
        found = {"logits": output.logits}
    if head.task == "fill-mask":
        assert output.logits.shape[1] == model.config.max_position_embeddings  # whatever the input's length
        found["logits"] = output.logits[:, : inputs["inputs"].shape[1]].flatten(0, 1)
    if head.task == "flow":
        found["logits"] = output.logits.flatten(0, 2)
    return found | {"latents": output.hidden_states[-1].flatten(0, 1)}


def answer_of_ours(head: Head, model: Any, inputs: Inputs) -> dict[str, torch.Tensor]:
    if head.task == "multimodal":
        clip = (inputs["image"], inputs["audio"])
        output = model(*clip, pixels=PIXELS, patches=PATCHES)
        found = {"rgb": output.rgb[0], "samples": output.samples[0], "label": output.logits}
        return found | {"latents": model.encode(*clip).flatten(0, 1)}
    if head.task == "flow":
        frames = model_frames(*real_frames(*model.config.train_size))
        return {"logits": model(frames).flatten(0, 2), "latents": model.encode(frames)[0].flatten(0, 1)}
    arguments = list(inputs.values())
    logits = model(*arguments)
    return {"logits": logits.flatten(0, -2), "latents": model.encode(*arguments).flatten(0, 1)}


@torch.no_grad()
def check(head: Head, config: dict[str, Any], folder: Path) -> Any:
    """Save the head, load it here, compare; returns transformers' model."""
    theirs_model = save_random_head(folder, head.name, config)
    inputs = head.inputs(theirs_model.config)
    expected = answer_of_transformers(head, theirs_model, inputs)
    model = load_checkpoint(folder)
    assert type(model) is TASKS[head.task].model
    found = answer_of_ours(head, model, inputs)
    assert found.keys() == expected.keys()
    for name, answer in expected.items():
        single = len(answer) == 1  # one label for one clip: nothing to differ from
        scale = float(answer.std()) if single else spread(answer)
        assert (found[name] - answer).abs().max() <= LIMIT * scale, name
        others = answer.flip(-1) if single else answer.roll(1, dims=0)
        assert (found[name] - others).abs().max() > 100 * LIMIT * scale, name
    return theirs_model


@pytest.mark.parametrize("head", HEADS, ids=NAMES)
def test_parity_tiny(head: Head, tmp_path: Path) -> None:
    check(head, head.tiny, tmp_path)


@torch.no_grad()
def test_attention_mask(tmp_path: Path) -> None:
    """Padding changes nothing where the mask says so, and much where it does not."""
    head = HEADS[1]
    save_random_head(tmp_path, head.name, head.tiny)
    model = load_checkpoint(tmp_path)
    inputs = head.inputs(PerceiverConfig(**head.tiny))
    ids, mask = inputs["inputs"], inputs["attention_mask"]
    length = int(mask[0].sum())
    alone = model(ids[:1, :length])
    scale = spread(model(ids, mask))
    assert (model(ids, mask)[:1] - alone).abs().max() <= LIMIT * scale
    assert (model(ids)[:1] - alone).abs().max() > 100 * LIMIT * scale


@torch.no_grad()
@pytest.mark.parametrize("head", [HEADS[0], HEADS[3], HEADS[6]], ids=[NAMES[0], NAMES[3], NAMES[6]])
def test_recording(head: Head, tmp_path: Path) -> None:
    """Hidden states and attentions are transformers', in its order and number."""
    other = save_random_head(tmp_path, head.name, head.tiny)
    inputs = head.inputs(other.config)
    model = load_checkpoint(tmp_path)
    wanted = {"output_hidden_states": True, "output_attentions": True}
    if head.task == "multimodal":
        points = {"image": PIXELS, "audio": PATCHES, "label": None}
        expected = other(inputs=dict(inputs), subsampled_output_points=points, **wanted)
    else:
        expected = other(**inputs, **wanted)
    with record(model) as seen:
        answer_of_ours(head, model, inputs) if head.task == "multimodal" else model(*inputs.values())
    per_pass = len(expected.hidden_states)
    for found, reference in (
        (seen.hidden_states[:per_pass], expected.hidden_states),
        (seen.attentions[: len(expected.attentions)], expected.attentions),
        (seen.cross_attentions[:1], expected.cross_attentions[:1]),
    ):
        assert len(found) == len(reference)
        for ours, theirs_state in zip(found, reference):
            torch.testing.assert_close(ours, theirs_state, rtol=0, atol=LIMIT * float(theirs_state.std()))
    if head.task != "multimodal":  # there transformers decodes all three at once
        decoder = expected.cross_attentions[-1][:, :, : seen.cross_attentions[-1].shape[2]]
        torch.testing.assert_close(seen.cross_attentions[-1], decoder, rtol=0, atol=LIMIT * float(decoder.std()))
    before = len(seen.hidden_states)
    model.encode(*([inputs["image"], inputs["audio"]] if head.task == "multimodal" else inputs.values()))
    assert len(seen.hidden_states) == before  # the block is over


@torch.no_grad()
@pytest.mark.parametrize("with_text", [False, True])
def test_bare_perceiver_model(with_text: bool, tmp_path: Path) -> None:
    """`PerceiverModel` alone, and with a text preprocessor and a decoder that is not needed."""
    config = PerceiverConfig(**HEADS[1].tiny)
    torch.manual_seed(0)
    if with_text:
        decoder = theirs.PerceiverClassificationDecoder(
            config,
            num_channels=config.d_latents,
            trainable_position_encoding_kwargs={"num_channels": config.d_latents, "index_dims": 1},
        )
        other = PerceiverModel(config, input_preprocessor=theirs.PerceiverTextPreprocessor(config), decoder=decoder).eval()
        inputs = HEADS[1].inputs(config)["inputs"]
    else:
        other = PerceiverModel(config).eval()
        inputs = torch.randn(2, 30, config.d_model)
    other.save_pretrained(tmp_path)
    mask = torch.ones(inputs.shape[:2])
    mask[0, 20:] = 0
    expected = other(inputs, attention_mask=mask).last_hidden_state
    model = load_checkpoint(tmp_path)
    scale = spread(expected.flatten(0, 1))
    assert (model(inputs, mask=mask) - expected).abs().max() <= LIMIT * scale
    assert (model(inputs.flip(1), mask=mask) - expected).abs().max() > 100 * LIMIT * scale
    assert find_checkpoint(tmp_path).task == "features"


@torch.no_grad()
def test_learned_positions_at_another_size(tmp_path: Path) -> None:
    head = HEADS[2]
    other = save_random_head(tmp_path, head.name, head.tiny)
    model = load_checkpoint(tmp_path)
    wide = torch.nn.functional.interpolate(head.inputs(other.config)["inputs"], (40, 24))
    expected = other(wide, interpolate_pos_encoding=True).logits
    assert (model(wide) - expected).abs().max() <= LIMIT * spread(expected)
    assert (model(wide.flip(-1)) - expected).abs().max() > 100 * LIMIT * spread(expected)


def test_label_is_masked() -> None:
    """transformers draws from a Bernoulli distribution of probability 1; here the label is simply left out."""
    head = HEADS[6]
    model = random_head(head.name, head.tiny)
    inputs = head.inputs(model.config)
    preprocess = model.perceiver.input_preprocessor
    with_label, _, _ = preprocess(dict(inputs, label=torch.full_like(inputs["label"], 7.0)))
    without, _, _ = preprocess(inputs)
    assert torch.equal(with_label, without)
