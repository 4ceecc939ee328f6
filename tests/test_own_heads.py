"""Models of one's own as bundles: exported, verified, run without torch's help, from Python and from the command line."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from own_models import ENCODER, Classifier, PaddingLeaks, Policy, QueriesTalk, make_occupancy, varied
from torch import Tensor, nn

import perceiver_deploy as pd
import perceiver_io as pio
import perceiver_runtime as pr
from perceiver_deploy.cli import main as export
from perceiver_runtime.commands.main import main
from perceiver_runtime.ray import BundleRows

ROOT = Path(__file__).parent.parent
POINTS = pd.Arrays(("M", 3), {"M": (1, 300)}, mask="mask")
OCCUPANCY: dict[str, Any] = {
    "inputs": {"points": POINTS},
    "queries": {"positions": pd.Positions(3, most=500)},
    "outputs": {"occupancy": pd.Arrays(("O", 1))},
}


def drawn(*shape: int) -> Any:
    return np.random.default_rng(sum(shape)).uniform(-1, 1, shape).astype(np.float32)


@torch.no_grad()
def test_equal_to_torch(occupancy: Path) -> None:
    """Any length, any number of queries in chunks; items of different length in one batch; latents kept."""
    model = make_occupancy()
    with pr.load(occupancy, task="arrays") as shape:
        for points, positions in ((1, 1), (7, 3), (300, 1200)):
            item = {"points": drawn(points, 3), "positions": drawn(positions, 3)}
            mask = torch.ones(1, points, dtype=torch.int64)
            expected = model.decode(
                model.encode(torch.from_numpy(item["points"])[None], mask), torch.from_numpy(item["positions"])[None]
            )
            found = shape(item)["occupancy"]
            assert found.shape == (positions, 1)
            np.testing.assert_allclose(found, expected[0].numpy(), rtol=0, atol=2e-5)
        assert expected.std() > 1e-3
        items = [{"points": drawn(length, 3), "positions": drawn(9, 3)} for length in (5, 90, 31)]
        for alone, together in zip(map(shape, items), shape(items)):
            np.testing.assert_allclose(together["occupancy"], alone["occupancy"], rtol=0, atol=2e-6)
        latents = shape.latents({"points": items[0]["points"]})
        assert latents["latents"].shape == (12, 32)
        queries = {"positions": items[0]["positions"]}
        np.testing.assert_allclose(
            shape.decode(latents, queries, query_chunk=2)["occupancy"], shape(items[0])["occupancy"], atol=2e-6
        )


def test_what_a_bundle_says(occupancy: Path) -> None:
    manifest = json.loads((occupancy / "manifest.json").read_text())
    assert manifest["ranges"] == {"B": {"min": 1, "max": 64}, "M": {"min": 1, "max": 300}, "O": {"min": 1, "max": 500}}
    assert manifest["choices"]["passes"]["encode"]["fold_kv_projections"] == 1
    assert manifest["choices"]["memory"]["decoders"]["decode"][1] > 0
    cases = [row for row in manifest["parity"]["cases"] if row["output"] == "occupancy"]
    assert [case["case"].split(":")[0] for case in cases] == ["smallest", "batch", "largest"]
    assert all(case["negative_control"] > case["allowed"] for case in cases if case["varies"])
    assert {path.suffix for path in occupancy.iterdir()} == {".json", ".onnx", ".safetensors", ".npz", ".md"}


def test_commands(occupancy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(occupancy), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["outputs"]["occupancy"]["max_error"] < 1e-4
    np.save(tmp_path / "points.npy", drawn(20, 3))
    np.save(tmp_path / "positions.npy", drawn(30, 3))
    files = [f"points={tmp_path / 'points.npy'}", f"positions={tmp_path / 'positions.npy'}"]
    assert main(["run", str(occupancy), *files, "-o", str(tmp_path / "answer.npz"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["outputs"]["occupancy"]["shape"] == [30, 1]
    with np.load(tmp_path / "answer.npz") as answer:
        assert answer["occupancy"].shape == (30, 1)
    assert main(["run", str(occupancy), "--sample"]) == 0
    assert "occupancy 64x1" in capsys.readouterr().out
    assert main(["bench", str(occupancy), "--runs", "2", "--batch", "3", "--json"]) == 0
    assert main(["inspect", str(occupancy)]) == 0
    assert main(["run", str(occupancy), files[0]]) == 1
    assert "give each of points, positions once, as NAME=FILE; found points" in capsys.readouterr().err


def test_in_tables(occupancy: Path) -> None:
    column = np.empty(2, object)
    column[:] = [drawn(4, 3), drawn(4, 2)]
    positions = np.empty(2, object)
    positions[:] = [drawn(5, 3)] * 2
    table = BundleRows(occupancy)({"points": column, "positions": positions})
    assert table["occupancy"][0].shape == (5, 1)
    assert table["error"][0] == ""
    assert "points should have the shape (M, 3), found (4, 2)" in table["error"][1]


def test_inputs_as_people_have_them(occupancy: Path, tmp_path: Path) -> None:
    """Files, their bytes and tensors by name; generators; map; a table of lines with tabs, in which one is wrong."""
    points, positions = drawn(20, 3), drawn(30, 3)
    np.save(tmp_path / "points.npy", points)
    np.save(tmp_path / "positions.npy", positions)
    given = {"points": tmp_path / "points.npy", "positions": torch.from_numpy(positions)}
    content = {"points": (tmp_path / "points.npy").read_bytes(), "positions": str(tmp_path / "positions.npy")}
    with pr.load(occupancy) as shape:
        expected = shape({"points": points, "positions": positions})["occupancy"]
        for found in (shape(given), *shape(each for each in [content]), *shape.map([given])):
            assert np.array_equal(found["occupancy"], expected)
        bad = list(shape.map([{"points": points}, content], on_error="return"))
        assert isinstance(bad[0], pr.InputError)
        assert np.array_equal(bad[1]["occupancy"], expected)
    (tmp_path / "list.txt").write_text(f"{tmp_path}/points.npy\t{tmp_path}/positions.npy\n{tmp_path}/points.npy\n")
    for option in ("--jsonl", "--csv"):
        command = ["run", str(occupancy), "--from-file", str(tmp_path / "list.txt"), option, str(tmp_path / f"o{option}")]
        assert main([*command, "--query-chunk", "7"]) == 1
    lines = [json.loads(line) for line in (tmp_path / "o--jsonl").read_text().splitlines()]
    np.testing.assert_allclose(lines[0]["occupancy"], expected, atol=1e-5)
    assert "has 1 columns, expected points, positions" in lines[1]["error"]
    assert (tmp_path / "o--csv").read_text().startswith("number,input,run,occupancy,error")


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"points": drawn(4, 3)}, r"an item should be a dictionary with points, positions; found \['points'\]"),
        ({"points": drawn(4, 3), "positions": [1, 2]}, "positions should be a numpy array of float32"),
        ({"points": drawn(4, 3) * np.nan, "positions": drawn(2, 3)}, "points holds NaN"),
        ({"points": drawn(301, 3), "positions": drawn(2, 3)}, "M 1 to 300"),
    ],
)
def test_items_that_cannot_be_used(occupancy: Path, item: Any, message: str) -> None:
    with pr.load(occupancy) as shape, pytest.raises(pr.InputError, match=message):
        shape(item)


def test_one_changed_weight_fails(occupancy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control of the whole: graphs of another model than the one whose answers are known."""
    from perceiver_deploy.own import export_model as module

    def other(model: Any, *args: Any, **options: Any) -> Any:
        with torch.no_grad():
            model.encoder.self_attention[1].mlp.contract.weight[3, 5] += 0.5
        return real(model, *args, **options)

    real = module.own_graphs
    monkeypatch.setattr(module, "own_graphs", other)
    with pytest.raises(pr.VerificationError, match="the graphs differ from torch on smallest"):
        pd.export_model(make_occupancy(), tmp_path / "bundle", **OCCUPANCY)
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("model", "message"), [(QueriesTalk, "depends on the other queries"), (PaddingLeaks, "on its padding")]
)
def test_models_that_do_not_keep_their_word(model: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(pr.InputError, match=message):
        pd.export_model(varied(model()), tmp_path / "bundle", **OCCUPANCY)


@torch.no_grad()
def test_several_inputs_and_outputs_and_latents_given_back(tmp_path: Path) -> None:
    """A picture through the image processor, joints, and the latents of the frame before; actions over any horizon, a value."""
    model = varied(Policy())
    inputs = {"image": pd.Image((32, 40)), "joints": pd.Arrays((7,)), "memory": pd.Arrays((5, 16))}
    queries = {"times": pd.Arrays(("O", 1), {"O": (1, 20)})}
    pd.export_model(
        model, tmp_path / "policy", inputs=inputs, queries=queries, outputs={"actions": pd.Arrays(), "value": pd.Arrays()}
    )
    picture = (np.random.default_rng(0).random((48, 60, 3)) * 255).astype(np.uint8)
    pixels = torch.from_numpy(pd.Image((32, 40)).processor(picture))[None]
    memory, times, joints = np.zeros((5, 16), np.float32), drawn(6, 1), drawn(7)
    expected = torch.zeros(1, 5, 16)
    with pr.load(tmp_path / "policy") as policy:
        for _ in range(3):
            expected = model.encode(pixels, torch.from_numpy(joints)[None], expected)
            memory = policy.latents({"image": picture, "joints": joints, "memory": memory})["latents"]
        answer = policy.decode({"latents": memory}, {"times": times}, query_chunk=4)
    actions, value = model.decode(expected, torch.from_numpy(times)[None])
    np.testing.assert_allclose(answer["actions"], actions[0].numpy(), rtol=0, atol=2e-5)
    np.testing.assert_allclose(answer["value"], value[0].numpy(), rtol=0, atol=2e-5)
    assert actions.std() > 1e-2


@torch.no_grad()
def test_labels_of_arrays_and_own_samples(tmp_path: Path) -> None:
    """Names of labels in an arrays bundle, one graph of the whole, the user's arrays; a file that lacks one is named."""
    model, points = varied(Classifier()), drawn(9, 3)
    model.decoder.train()  # in the middle of training, say
    folder = tmp_path / "samples"
    folder.mkdir()
    for number in range(2):
        np.savez(folder / f"{number}.npz", points=drawn(5 + number, 3))
    inputs, outputs = {"points": pd.Arrays(("M", 3), {"M": (1, 40)})}, {"logits": pd.Labels(("cube", "cone", "ball"))}
    pd.export_model(model, tmp_path / "shapes", inputs=inputs, outputs=outputs, fused=True, samples=folder)
    assert (model.decoder.output.training, model.encoder.training) == (True, False)  # as it was
    model.eval()
    logits = model.decode(model.encode(torch.from_numpy(points)[None]))[0]
    with pr.load(tmp_path / "shapes") as shapes:
        answer = shapes({"points": points})
        np.testing.assert_allclose(answer["logits"], logits.numpy(), rtol=0, atol=2e-5)
        assert shapes.labels(answer, "logits", top_k=1)[0].label == ("cube", "cone", "ball")[int(logits.argmax())]
    assert (tmp_path / "shapes" / "model.onnx").exists()
    assert json.loads((tmp_path / "shapes/manifest.json").read_text())["parity"]["own_inputs"] == 2
    np.savez(folder / "2.npz", cloud=points)
    with pytest.raises(pr.InputError, match=r"2.npz: an item should be a dictionary with points; found \['cloud'\]"):
        pd.export_model(model, tmp_path / "again", inputs=inputs, outputs=outputs, samples=folder)  # type: ignore[arg-type]


@torch.no_grad()
def test_a_composition_from_its_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Parts put together, saved, exported by the command line; the child process rebuilds them. An image to labels."""
    image = pio.ImagePreprocessor(pio.ImageInputConfig("patches", size=(16, 24), downsample=4, fourier_bands=3))
    decoder = pio.ClassificationDecoder(pio.DecoderConfig(), ENCODER, num_labels=3)
    model = varied(pio.PerceiverModel(ENCODER, input_channels=image.channels, preprocessor=image, decoder=decoder))
    pio.save_checkpoint(model, tmp_path / "saved")
    output = tmp_path / "bundle"
    assert (
        export(
            [
                "--checkpoint",
                str(tmp_path / "saved"),
                "--outputs",
                "logits=labels:a,b,c",
                "--inputs",
                "pixel_values=image:16x24",
                "-o",
                str(output),
            ]
        )
        == 0
    )
    assert "the task is arrays" in capsys.readouterr().err
    picture = (np.random.default_rng(0).random((40, 50, 3)) * 255).astype(np.uint8)
    logits = model(torch.from_numpy(pd.Image((16, 24)).processor(picture))[None])[0]
    with pr.load(output, task="image-classification") as classify:
        assert classify(picture, top_k=1)[0].label == "abc"[int(logits.argmax())]
        assert classify(picture, top_k=1)[0].probability == pytest.approx(float(logits.softmax(0).max()), abs=1e-5)


@pytest.mark.long
def test_text_to_labels_for_tensorrt_in_half_precision(tmp_path: Path) -> None:
    text = pio.TextPreprocessor(pio.TextInputConfig(max_positions=64, channels=16))
    decoder = pio.ClassificationDecoder(pio.DecoderConfig(), ENCODER, num_labels=3)
    model = varied(pio.PerceiverModel(ENCODER, input_channels=16, preprocessor=text, decoder=decoder))
    kinds = {"inputs": {"input_ids": pd.Text(64, mask="mask")}, "outputs": {"logits": pd.Labels(("a", "b", "c"))}}
    manifest = pd.export_model(model, tmp_path / "bundle", precision="fp16", target="tensorrt", **kinds)  # type: ignore[arg-type]
    assert (manifest.task, manifest.precision, len(manifest.choices["attention"]["encode"])) == (
        "text-classification",
        "fp16",
        3,
    )
    assert any(
        value.dtype == ir.DataType.FLOAT16 for value in ir.load(tmp_path / "bundle/encode.onnx").graph.initializers.values()
    )
    with pr.load(tmp_path / "bundle", device="cpu") as classify:
        assert classify("some text", top_k=1)[0].label in "abc"


class Lucidrains(nn.Module):
    """perceiver-pytorch's PerceiverIO as encode and decode."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def encode(self, points: Tensor, mask: Tensor) -> Tensor:
        return self.model(points, mask=mask.bool())

    def decode(self, latents: Tensor, queries: Tensor) -> Tensor:
        return self.model.to_logits(self.model.decoder_cross_attn(queries, context=latents))


@torch.no_grad()
def test_somebody_else_s_perceiver(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """lucidrains' from PyPI: its einsums are attentions here, no score matrix is stored, equal to torch."""
    perceiver_pytorch = pytest.importorskip("perceiver_pytorch")
    sizes = {"dim": 6, "queries_dim": 8, "logits_dim": 3, "num_latents": 12, "latent_dim": 32}
    heads = {"latent_heads": 4, "latent_dim_head": 8, "cross_heads": 2, "cross_dim_head": 8}
    model = varied(Lucidrains(perceiver_pytorch.PerceiverIO(depth=2, **sizes, **heads)))
    inputs = {"points": pd.Arrays(("M", 6), {"M": (1, 90)}, mask="mask")}
    queries = {"queries": pd.Arrays(("O", 8), {"O": (1, 40)})}
    manifest = pd.export_model(model, tmp_path / "bundle", inputs=inputs, queries=queries, outputs={"logits": pd.Arrays()})
    found = [manifest.choices["passes"][graph]["recognise_attention"] for graph in ("encode", "decode")]
    assert (found, "unrecognised" in manifest.choices) == ([3, 1], False)
    graph = ir.load(tmp_path / "bundle/encode.onnx").graph
    assert sum(node.op_type == "MultiHeadAttention" for node in graph) == 2  # the masked one is written out
    with pr.load(tmp_path / "bundle") as bundle:
        items = [{"points": drawn(length, 6), "queries": drawn(70, 8)} for length in (5, 80)]
        for item, answer in zip(items, bundle(items)):
            points, asked = (torch.from_numpy(item[name])[None] for name in ("points", "queries"))
            expected = model.decode(model.encode(points, torch.ones(points.shape[:2], dtype=torch.int64)), asked)[0]
            np.testing.assert_allclose(answer["logits"], expected.numpy(), rtol=0, atol=1e-5 * float(expected.abs().max()))
            assert expected.std(dim=0).max() > 1e-3
    assert main(["inspect", str(tmp_path / "bundle"), "--passes"]) == 0
    told = capsys.readouterr().out
    assert "recognise_attention: applied 3x" in told
    assert "fold_kv_projections: found nothing to apply to: it is for one head" in told


@pytest.mark.long
def test_the_page_s_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/own-heads.md, as it is written."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/own-heads.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    code = blocks[0].replace("2048", "64") + "\n" + blocks[1].replace("500, 3", "50, 3")
    found: dict[str, Any] = {}
    exec(compile(code, "own-heads.md", "exec"), found)
    assert found["answer"]["occupancy"].shape == (100_000, 1)
    np.testing.assert_allclose(found["more"]["occupancy"], found["answer"]["occupancy"][:7], atol=1e-5)
