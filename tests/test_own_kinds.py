"""Models of one's own before any graph: the protocol, kinds of inputs and outputs, their text form, parts in a registry."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import perceiver_deploy as pd
import perceiver_io as pio
from perceiver_deploy.cli import main
from perceiver_deploy.own.composition import can_be_rebuilt, kinds_of
from perceiver_deploy.own.head import Head
from perceiver_deploy.own.task_rows import ROWS
from perceiver_deploy.own.text_form import kinds, load_model
from perceiver_export.protocol import ProtocolError, Structure, named_outputs
from perceiver_runtime import InputError, UsageError

ROOT = Path(__file__).parent.parent
ENCODER = pio.EncoderConfig(num_latents=4, latent_channels=16, layers_per_block=1, self_attention_heads=4)
POINTS = pd.Arrays(("M", 3), {"M": (1, 50)})
HEAD: dict[str, Any] = {"inputs": {"points": POINTS}, "outputs": {"answer": pd.Arrays()}}


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 8)

    def encode(self, points: Tensor) -> Tensor:
        return self.layer(points).mean(1, keepdim=True)


class Both(Encoder):
    def decode(self, latents: Tensor) -> Any:
        return latents


class Counts(Encoder):
    def decode(self, latents: Tensor) -> Tensor:
        return latents.argmax(-1)


class Two(Encoder):
    def decode(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        return latents, latents


class Asks(Encoder):
    def decode(self, latents: Tensor, horizon: Tensor) -> Tensor:
        return latents + horizon


class Crashes(Both):
    def encode(self, points: Tensor) -> Tensor:
        return points @ torch.zeros(4, 4)


@pytest.mark.parametrize(
    ("model", "changed", "message"),
    [
        (Encoder(), {}, r"Encoder has no method decode: give it decode\(latents, \*\*queries\)"),
        (nn.Linear(3, 4), {}, "Linear has no method encode"),
        (Asks(), {}, "Asks.decode.* needs horizon, which is not declared"),
        (Both(), {"inputs": {"cloud": POINTS}}, r"Both.encode\(points\) has no parameter cloud"),
        (
            Both(),
            {"outputs": {"answer": pd.Labels(("a", "b"))}},
            r"answer is no Labels: the model gives \(B, 1, 8\), 2 labels are",
        ),
        (Both(), {"outputs": {"answer": pd.Arrays((1, 9))}}, r"\(B, 1, 8\), declared are the axes \(B, 1, 9\)"),
        (Both(), {"outputs": {"points": pd.Arrays()}}, "two tensors are called points"),
        (Two(), {}, "decode gave 2 tensors, declared are answer: declare each of them"),
        (Counts(), {}, "answer is int64: latents and outputs are float32, give logits"),
        (Crashes(), {}, "Crashes cannot be run on inputs as they are declared: "),
    ],
)
def test_modules_that_do_not_follow(model: nn.Module, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Head.of(**{"queries": None, **HEAD, **changed}).probe(model.eval())


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"points": pd.Arrays()}, "points: name the axes of an item"),
        ({"points": pd.Arrays(("M", 3))}, "the axis M has no range"),
        ({"points": pd.Arrays((None, 3))}, "points has an axis None: give its size, or a name"),  # type: ignore[arg-type]
        ({"points": pd.Arrays(("M", 3), {"M": (9, 3)})}, "the range of M is"),
        ({"points": pd.Arrays(("M", 3), {"M": (1, 3)}, dtype="float64")}, "points is float64: graphs take float32 and int64"),
        ({"points": pd.Arrays((3,), mask="mask")}, "has a mask, but its first axis is always 3"),
        ({"a": POINTS, "b": pd.Arrays(("M",), {"M": (1, 7)})}, "make it one"),
        ({"a": pd.Arrays(("B", 3), {"B": (1, 3)})}, "'B' is no name for an axis"),
        ({"points": "arrays"}, "which is no kind of inputs"),
        ({"points": pd.Labels(("a",))}, "which is no kind of inputs"),
        ({"two words": POINTS}, "is no name for a tensor"),
        ({}, "inputs should be a dictionary of kinds by name"),
    ],
)
def test_inputs_that_make_no_sense(inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Head.of(inputs, None, HEAD["outputs"])


def test_which_task() -> None:
    labels, text, image = pd.Labels(("a", "b")), pd.Text(20), pd.Image((16, 16))
    assert Head.of({"x": text}, None, {"y": labels}).task == "text-classification"
    assert Head.of({"x": image}, None, {"y": labels}).task == "image-classification"
    two = {"boxes": pd.Boxes(), "logits": pd.BoxLabels(("a",))}
    assert Head.of({"x": image}, None, two).output_names == {"boxes": "boxes", "logits": "logits"}
    for inputs, outputs, task in (
        (text, pd.TokenLabels(("O", "a")), "token-classification"),
        (text, pd.Spans(), "question-answering"),
        (pd.Audio(80), labels, "audio-classification"),
        (pd.Video(4, (16, 16)), labels, "video-classification"),
    ):
        assert Head.of({"x": inputs}, None, {"y": outputs}).task == task
    page = (ROOT / "docs/new-tasks.md").read_text()
    others = ("text-classification", "image-classification")
    assert all(f"| [{row.task}](#{row.task}) |" in page for row in ROWS if row.task not in others)
    assert Head.of({"x": image, "state": pd.Arrays((7,))}, None, {"y": labels}).task == "arrays"
    assert Head.of({"x": image}, {"q": pd.Positions(2)}, {"y": pd.Arrays()}).task == "arrays"


def test_kinds_as_text(tmp_path: Path) -> None:
    (tmp_path / "labels").write_text("stop\ngo\n")
    found = kinds(
        ["p=array:M=1..40,3,mask=m,values=0..9,dtype=int64", "q=positions:3,most=7", "t=text:64",
         "i=image:16x24,mean=0.5,std=0.25", "a=labels:x,y,problem=multi_label", f"b=labels:@{tmp_path / 'labels'}",
         "c=array"], "inputs",
    )  # fmt: skip
    assert found["p"] == pd.Arrays(("M", 3), {"M": (1, 40)}, dtype="int64", mask="m", values=(0, 9))
    assert found["q"] == pd.Positions(3, most=7)
    assert (found["t"], found["i"]) == (pd.Text(64), pd.Image((16, 24), (0.5,), (0.25,)))
    assert (found["a"], found["b"]) == (pd.Labels(("x", "y"), "multi_label"), pd.Labels(("stop", "go")))
    assert found["c"] == pd.Arrays()
    found = kinds(["a=audio:800,rate=8000,channel=1", "v=video:4,16x24,mean=0.5,std=0.25", "s=spans", "b=boxes"], "inputs")
    assert (found["a"], found["v"]) == (pd.Audio(800, 8000, True), pd.Video(4, (16, 24), (0.5,), (0.25,)))
    assert (found["s"], found["b"]) == (pd.Spans(), pd.Boxes())
    found = kinds(
        ["t=token-labels:X,B-A,scheme=bioes,outside=X", "l=box-labels:a,problem=multi_label", "s=spans:max_answer=9"], ""
    )
    assert (found["t"], found["l"]) == (pd.TokenLabels(("X", "B-A"), "bioes", "X"), pd.BoxLabels(("a",), "multi_label"))
    assert found["s"] == pd.Spans(9)
    for text in (
        "points",
        "points=cloud:3",
        "points=array:M=1-3",
        "q=positions:a",
        "i=image:wide",
        "s=spans:9",
        "b=boxes:4",
        "a=audio",
    ):
        with pytest.raises(UsageError, match="write NAME="):
            kinds([text], "inputs")


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        (POINTS, pd.Spans(), "y is Spans, which is for question-answering: Text in, Spans out, no queries; declare Arrays"),
        (pd.Text(9), pd.Boxes(), "Boxes, which is for object-detection: Image in, BoxLabels and Boxes out"),
        (pd.Audio(0), pd.Labels(("a",)), "a window of 0 samples"),
        (pd.Audio(9, rate=3), pd.Labels(("a",)), "the rate is 3: give whole Hz from 1000"),
        (pd.Video(0, (16, 16)), pd.Labels(("a",)), "a clip of 0 frames"),
        (pd.Text(9), pd.Spans(0), "the longest answer is 0"),
        (pd.Image((9, 9)), pd.BoxLabels(()), "give the names of the labels"),
        (pd.Image((9, 9)), pd.BoxLabels(("a",), "regression"), "single_label or multi_label"),  # type: ignore[arg-type]
        (pd.Text(9), pd.TokenLabels(("a", "b")), "no label is called 'O'"),
    ],
)
def test_kinds_that_make_no_sense(inputs: Any, outputs: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Head.of({"x": inputs}, None, {"y": outputs})


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (
            ["--task", "qa"],
            2,
            "question-answering is for a model of your own: give --model MODULE:FUNCTION",
        ),
        (
            ["--task", "weather"],
            2,
            "unknown task 'weather'; a model with other outputs is exported with --model, see docs/own-heads.md",
        ),
        (["--model", "m:f"], 2, "--model needs --inputs and --outputs"),
        (["--model", "m:f", "--task", "flow"], 2, "leave out --task and --checkpoint"),
        (["--inputs", "a=text:9"], 2, "--inputs is for --model"),
        (
            ["--model", "no_such_module:f", "--inputs", "a=text:9", "--outputs", "b=array"],
            1,
            "cannot be made: ModuleNotFoundError",
        ),
        (["--model", "json", "--inputs", "a=text:9", "--outputs", "b=array"], 2, "write package.module:make_model"),
        (["--model", "collections:OrderedDict", "--inputs", "a=text:9", "--outputs", "b=array"], 1, "gave OrderedDict"),
    ],
)
def test_command_lines(options: list[str], code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*options, "-o", str(tmp_path / "bundle")]) == code
    assert message in capsys.readouterr().err


def test_the_current_folder_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module there is found; one that has an installed package's name is not."""
    (tmp_path / "my_head.py").write_text("import torch\ndef make():\n    return torch.nn.Linear(2, 2)\n")
    (tmp_path / "safetensors.py").write_text("raise RuntimeError('this must not run')\n")
    monkeypatch.chdir(tmp_path)
    assert isinstance(load_model("my_head:make"), nn.Linear)
    import importlib

    assert str(tmp_path) not in str(importlib.import_module("safetensors").__file__)


class Answer(NamedTuple):
    action: Tensor
    value: Tensor


def test_structures() -> None:
    one, two = torch.zeros(2, 3), torch.ones(2, 1)
    for value, names in ((one, ["latents"]), ((one, two), ["latents", "latents_1"]), ({"a": one, "b": two}, ["a", "b"])):
        structure, tensors = Structure.of(value, "encode")
        assert list(structure.names) == names
        again = structure.together(tensors)
        assert type(again) is type(value)
    assert Structure.of(Answer(one, two), "encode")[0].together([one, two]) == Answer(one, two)
    assert named_outputs(Answer(one, two), ["value", "action"]) == (two, one)
    with pytest.raises(ProtocolError, match="decode gave a, declared are b"):
        named_outputs({"a": one}, ["b"])
    with pytest.raises(ProtocolError, match="encode gave int under a"):
        Structure.of({"a": 3}, "encode")


def compositions() -> dict[str, pio.PerceiverModel]:
    """One of each decoder, with preprocessors that fit."""
    image = pio.ImagePreprocessor(pio.ImageInputConfig("conv1x1", (8, 8), "learned", channels=8, position_channels=8))
    text = pio.TextPreprocessor(pio.TextInputConfig(max_positions=16, channels=8))
    video = pio.VideoPreprocessor(patch=4, bands=2, max_resolution=(2, 4, 4))
    audio = pio.AudioPreprocessor(samples_per_patch=4, bands=2, max_resolution=8)
    several = pio.MultimodalPreprocessor(
        {"image": video, "audio": audio, "label": pio.OneHotPreprocessor(num_labels=3)},
        min_padding=2,
        mask_lengths={"label": 1},
    )
    decoder = pio.DecoderConfig()
    frames = pio.VideoDecoder(decoder, ENCODER, size=(2, 4, 4), bands=2, max_resolution=(2, 4, 4), output_channels=6)

    def model(channels: int, **parts: Any) -> pio.PerceiverModel:
        return pio.PerceiverModel(ENCODER, input_channels=channels, **parts)

    return {
        "image": model(image.channels, preprocessor=image, decoder=pio.ClassificationDecoder(decoder, ENCODER, num_labels=3)),
        "text": model(8, preprocessor=text, decoder=pio.ProjectionDecoder(ENCODER, num_labels=3)),
        "vectors": model(5, decoder=pio.BasicDecoder(decoder, ENCODER, query_channels=7, output_channels=2)),
        "flow": model(5, decoder=pio.FlowDecoder(decoder, ENCODER, query_channels=7)),
        "video": model(several.channels, preprocessor=several, decoder=frames, postprocessor=pio.ProjectionPostprocessor(6, 3)),
    }


@torch.no_grad()
@pytest.mark.parametrize("name", ["image", "text", "vectors", "flow", "video"])
def test_round_trip(name: str, tmp_path: Path) -> None:
    """Configuration and tensors, so the same answers; another model's differ."""
    model = compositions()[name].eval()
    pio.save_checkpoint(model, tmp_path)
    again = pio.load_checkpoint(tmp_path)
    given: dict[str, dict[str, Tensor]] = {
        "image": {"x": torch.rand(2, 3, 8, 8)},
        "text": {"x": torch.randint(6, 200, (2, 9))},
        "video": {"image": torch.rand(2, 2, 3, 8, 8), "audio": torch.rand(2, 8, 1)},
    }
    inputs = given.get(name, {"x": torch.rand(2, 9, 5)})
    queries = () if name in ("image", "text", "video") else (torch.rand(2, 4, 7),)
    expected = model.decode(model.encode(**inputs), *queries)
    assert torch.equal(again.decode(again.encode(**inputs), *queries), expected)
    other = compositions()[name].eval()
    assert not torch.allclose(other.decode(other.encode(**inputs), *queries), expected)
    assert can_be_rebuilt(model)
    if name != "video":
        declared = kinds_of(again)
        Head.of(declared.inputs, declared.queries, declared.outputs).probe(again)


class Unregistered(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


def test_parts_in_no_registry(tmp_path: Path) -> None:
    model = pio.PerceiverModel(ENCODER, input_channels=5, preprocessor=Unregistered())
    with pytest.raises(pio.ConfigError, match=r"Unregistered is no registered part.*put @perceiver_io\.part above it"):
        pio.save_checkpoint(model, tmp_path)
    assert not can_be_rebuilt(model)
    registered = pio.part(type("Registered", (nn.Module,), {"forward": Unregistered.forward}))
    pio.save_checkpoint(pio.PerceiverModel(ENCODER, input_channels=5, preprocessor=registered()), tmp_path)
    assert not can_be_rebuilt(pio.load_checkpoint(tmp_path))  # a child process has no such class
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace("Registered", "Elsewhere"))
    with pytest.raises(pio.CheckpointError, match="'Elsewhere', a part of no registry here: import the module"):
        pio.load_checkpoint(tmp_path)


def changed(data: dict[str, Any], change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    change(data["config"]["arguments"])
    return data


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arguments: arguments.update(input_channels=1 << 40), "is beyond"),
        (lambda arguments: arguments.update(surplus=1), "cannot be made of its arguments"),
        (lambda arguments: arguments.update(decoder={"part": "os.system", "arguments": {}}), "a part of no registry"),
        (lambda arguments: arguments.update(encoder={"config": "int", "values": {}}), "no configuration known here"),
        (lambda arguments: arguments["encoder"]["values"].update(num_latents="many"), "expected int"),
    ],
)
def test_damaged_configurations(change: Callable[[dict[str, Any]], object], message: str, tmp_path: Path) -> None:
    pio.save_checkpoint(compositions()["vectors"], tmp_path)
    config = tmp_path / "config.json"
    config.write_text(json.dumps(changed(json.loads(config.read_text()), change)))
    with pytest.raises(pio.CheckpointError, match=message):
        pio.load_checkpoint(tmp_path)
