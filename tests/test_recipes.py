"""The recipes in examples/, end to end on tiny sizes: trained, exported, and equal to torch in a process that has none."""

import importlib.util
import json
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import perceiver_runtime as pr
from perceiver_runtime.common.children import python_code

EXAMPLES = Path(__file__).parent.parent / "examples"
NO_TORCH = "import sys\nsys.modules['torch'] = None\n"
ANSWER = f"""{NO_TORCH}
import numpy as np, perceiver_runtime as pr
bundle, given, output = sys.argv[1:]
with np.load(given) as item, pr.load(bundle, task="arrays") as model:
    np.savez(output, **model(dict(item)))
"""
SCRIPT = f"{NO_TORCH}import runpy\nsys.argv.pop(0)\nrunpy.run_path(sys.argv[0], run_name='__main__')\n"


def recipe(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def without_torch(bundle: Path, item: dict[str, Any]) -> dict[str, np.ndarray]:
    """A bundle's answer to an item, from a process where torch cannot be imported."""
    given, output = bundle.with_name("item.npz"), bundle.with_name("answer.npz")
    np.savez(given, **item)
    subprocess.run([*python_code(ANSWER), str(bundle), str(given), str(output)], check=True)
    with np.load(output) as answer:
        return dict(answer)


def equal(found: Any, expected: Any, other: Any) -> None:
    """Within rounding, and far from the answer to something else."""
    found, expected, other = (np.asarray(each) for each in (found, expected, other))
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)
    assert np.abs(found - other).max() > 1e-3


@torch.no_grad()
def test_point_cloud(tmp_path: Path) -> None:
    recipes = recipe("point_cloud")
    model = recipes.CloudClassifier(8, 32)
    with torch.enable_grad():
        recipes.train(model, 5, 8)
    recipes.export(model.eval(), tmp_path / "bundle")
    assert set(recipes.run_on_device(tmp_path / "bundle", 2)) == {16, 64, 256, 1024, 4096}
    sphere, cube = (torch.from_numpy(recipes.cloud(np.random.default_rng(2), kind, 100)) for kind in ("sphere", "cube"))
    expected, other = (model.decode(model.encode(each[None], torch.ones(1, 100)))[0] for each in (sphere, cube))
    equal(without_torch(tmp_path / "bundle", {"points": sphere.numpy()})["logits"], expected, other)


@torch.no_grad()
def test_robot_policy(tmp_path: Path) -> None:
    """Latents once a frame, then horizons of any length."""
    recipes = recipe("robot_policy")
    model = recipes.Policy(8, 32)
    with torch.enable_grad():
        recipes.train(model, 5, 4)
    recipes.export(model.eval(), tmp_path / "bundle")
    assert recipes.drive(tmp_path / "bundle", 2, frames=2)["start"] > 0.05
    scene = recipes.Scene(np.random.default_rng(2), 1)
    pictures, times = (
        {name: each[0] for name, each in scene.pictures().items()},
        np.linspace(0, 3, 300, dtype=np.float32)[:, None],
    )
    joints = scene.joints[0].astype(np.float32)
    seen = {name: torch.from_numpy(each)[None].permute(0, 3, 1, 2) / 127.5 - 1 for name, each in pictures.items()}
    latents = model.encode(**seen, joints=torch.from_numpy(joints)[None])
    expected = model.decode(latents, torch.from_numpy(times)[None])[0].numpy()
    found = without_torch(tmp_path / "bundle", {**pictures, "joints": joints, "times": times})["actions"]
    equal(found, expected, expected[::-1])
    with pr.load(tmp_path / "bundle", task="arrays") as policy:
        kept = policy.latents({**pictures, "joints": joints})
        for horizon in (1, 7, 300):
            equal(policy.decode(kept, {"times": times[:horizon]})["actions"], expected[:horizon], expected[::-1][:horizon])


def test_teacher_reaches_the_target() -> None:
    recipes = recipe("robot_policy")
    scene = recipes.Scene(np.random.default_rng(0), 20)
    assert scene.distance.min() > 1e-3
    scene.joints = scene.joints + recipes.teacher(scene, np.full((20, 1), recipes.DURATION))[:, 0]
    assert scene.distance.max() < 1e-9


@torch.no_grad()
def test_signed_distance(tmp_path: Path) -> None:
    """The other program draws it without torch: a picture in which something is seen."""
    recipes = recipe("signed_distance")
    model = recipes.SignedDistance(8, 32)
    with torch.enable_grad():
        recipes.train(model, 40, 4)
    bundle = tmp_path / "bundle"
    recipes.export(model.eval(), bundle)
    assert recipes.measure(bundle, 2)["mean_error"] < 0.5
    shapes = recipes.Shapes(2, torch.Generator().manual_seed(5))
    points, positions = shapes.surface(90), torch.rand(2, 70, 3) * 2 - 1
    expected = model.decode(model.encode(points, torch.ones(2, 90)), positions)
    equal(without_torch(bundle, {"points": points[0].numpy(), "positions": positions[0].numpy()})["distance"], *expected)
    np.save(bundle.with_suffix(".npy"), points[0].numpy())
    view = [str(EXAMPLES / "signed_distance_view.py"), str(bundle), "--side", "20", "--chunk", "3000"]
    done = subprocess.run([*python_code(SCRIPT), *view], capture_output=True, text=True, check=True)
    assert "90 points encoded in " in done.stdout
    assert "8,000 positions decoded in" in done.stdout
    picture = np.asarray(Image.open(bundle.with_suffix(".png")))
    assert picture.shape == (56, 224, 3)
    assert all(picture[:, 56 * panel : 56 * (panel + 1)].std() > 5 for panel in range(1, 4))


def test_distances_are_right() -> None:
    """Of a sphere, and of scans: on the surface."""
    recipes = recipe("signed_distance")
    shapes = recipes.Shapes(3, torch.Generator().manual_seed(0))
    assert shapes.distance(shapes.surface(500)).abs().mean() < 0.005
    shapes.sides[:], shapes.radii[:], shapes.centres[:] = 0, 0.5, 0
    found = shapes.distance(torch.tensor([[[0.0, 0, 0], [0, 1, 0], [0, 0, 0.4]]]).expand(3, -1, -1))
    torch.testing.assert_close(found, torch.tensor([[[-0.5], [0.5], [-0.1]]]).expand(3, -1, -1))


def test_fine_tuning_texts(tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="the Trainer needs accelerate")
    result = recipe("fine_tune").main(["text", "--steps", "20", "--examples", "200", "-o", str(tmp_path)])
    assert result["bundle"] == result["transformers"]
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    labels = json.loads((tmp_path / "bundle" / "labels.json").read_text())
    assert labels == ["fetch", "go", "look", "stop"]
    assert manifest["parity"]["own_inputs"] == 8
    words = [str(tmp_path / "bundle"), "please go to the kitchen", "--top-k", "1"]
    program = f"{NO_TORCH}from perceiver_runtime.commands.main import main\nsys.exit(main(['run', *sys.argv[1:]]))"
    done = subprocess.run([*python_code(program), *words], capture_output=True, text=True, check=True)
    assert any(label in done.stdout for label in labels)


def test_fine_tuning_pictures_of_one_s_own(tmp_path: Path) -> None:
    """A folder for each label, and a checkpoint with other labels, whose last layer is made anew."""
    pytest.importorskip("accelerate", reason="the Trainer needs accelerate")
    recipes = recipe("fine_tune")
    recipes.make_model("image", None, ["a", "b", "c"], 32)[0].save_pretrained(tmp_path / "old")
    for number, (picture, label) in enumerate(recipes.drawings(60)):
        if label != "square":
            (tmp_path / "data" / label).mkdir(parents=True, exist_ok=True)
            picture.save(tmp_path / "data" / label / f"{number}.png")
    options = ["--data", str(tmp_path / "data"), "--checkpoint", str(tmp_path / "old"), "--size", "32", "--steps", "3"]
    result = recipes.main(["image", *options, "-o", str(tmp_path)])
    assert result["bundle"] == result["transformers"]
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    assert json.loads((tmp_path / "bundle" / "labels.json").read_text()) == ["circle", "triangle"]
    assert manifest["processor"]["size"] == [32, 32]


@pytest.mark.long
def test_what_the_docs_say_of_point_clouds(tmp_path: Path) -> None:
    """Trained as by default."""
    accuracy = recipe("point_cloud").main(["-o", str(tmp_path / "bundle")])
    assert accuracy[1024] > 0.9
