"""The runtime's pipelines beyond parity: what they return, what they refuse, and how often their graphs run."""

import io
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forgery import edit_manifest
from heads import HEADS, save_random_head
from skimage import data

import perceiver_runtime as pr
from perceiver_deploy import export_bundle
from perceiver_runtime.bundle.manifest import FileEntry, Manifest
from perceiver_runtime.bundle.reader import file_sha256
from perceiver_runtime.commands.main import main
from perceiver_runtime.processing.vocabulary import BYTES
from perceiver_runtime.tasks.fill_mask.byte_search import best_sequences
from perceiver_runtime.tasks.labels import Labels, softmax


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny bundle of each task, and features of text and of a clip."""
    folder = tmp_path_factory.mktemp("tiny")
    made = {}
    for head in (HEADS[0], HEADS[1], HEADS[3], HEADS[6]):
        save_random_head(folder / head.name, head.name, head.tiny)
        made[head.task] = folder / head.task
        export_bundle(task=head.task, checkpoint=folder / head.name, output=made[head.task])
    for head in (HEADS[0], HEADS[6]):
        made[f"features of {head.task}"] = folder / f"features of {head.task}"
        export_bundle(task="features", checkpoint=folder / head.name, output=made[f"features of {head.task}"])
    return made


@pytest.fixture(scope="session")
def mlm(bundles: dict[str, Path]) -> Any:
    return pr.load(bundles["fill-mask"])


@pytest.fixture(scope="session")
def classify(bundles: dict[str, Path]) -> Any:
    return pr.load(bundles["text-classification"])


@pytest.fixture(scope="session")
def classify_image(bundles: dict[str, Path]) -> Any:
    return pr.load(bundles["image-classification"])


@pytest.fixture(scope="session")
def autoencode(bundles: dict[str, Path]) -> Any:
    return pr.load(bundles["multimodal"])


def clip(count: int = 4) -> np.ndarray:
    return np.stack([data.chelsea()[10 * step : 10 * step + 60, :80] for step in range(count)])


def test_spans(mlm: Any) -> None:
    spans = mlm("a[MASK*2] b[MASK]", top_k=3)
    assert [(span.start, span.end) for span in spans] == [(1, 3), (5, 6)]
    for span in spans:
        probabilities = [candidate.probability for candidate in span.candidates]
        assert probabilities == sorted(probabilities, reverse=True)
        assert len(probabilities) == 3
    text = "ab cd ef"
    assert mlm(text, spans=[(2, 5)]) == mlm("ab[MASK*3] ef")
    assert mlm([f"{text}[MASK]", "[MASK]"], top_k=1) == [mlm(f"{text}[MASK]", top_k=1), mlm("[MASK]", top_k=1)]
    assert mlm.fill("ab[MASK]").startswith("ab")


def test_beams(mlm: Any) -> None:
    """One byte: as without. Several: as many different candidates, best first."""
    one = mlm("a[MASK] b", top_k=3)[0].candidates
    same = mlm("a[MASK] b", top_k=3, beams=3)[0].candidates
    assert [candidate.text for candidate in same] == [candidate.text for candidate in one]
    np.testing.assert_allclose([each.probability for each in same], [each.probability for each in one], rtol=1e-5)
    first, second = mlm(["x[MASK*3]y[MASK]", "[MASK*2]"], top_k=4, beams=6)
    assert [(span.start, span.end) for span in first] == [(1, 4), (5, 6)]
    assert len(second[0].candidates) == len({candidate.text for candidate in second[0].candidates}) == 4
    probabilities = [candidate.probability for candidate in second[0].candidates]
    assert probabilities == sorted(probabilities, reverse=True)


def test_the_best_sequences_of_independent_bytes() -> None:
    probabilities = softmax(np.random.default_rng(0).standard_normal((3, 262)) * 3)
    values = probabilities[:, 6:].astype(np.float64)
    joint = values[0][:, None, None] * values[1][None, :, None] * values[2][None, None]
    best = np.argsort(-joint.reshape(-1))[:20]
    expected = [[6 + int(part) for part in np.unravel_index(place, joint.shape)] for place in best]
    found = best_sequences(probabilities, 20, BYTES.written)
    assert [ids for ids, _ in found] == expected
    np.testing.assert_allclose([probability for _, probability in found], joint.reshape(-1)[best], rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("no mask", {}, r"the text has no mask: write \[MASK\], or \[MASK\*9\] for nine bytes"),
        ("", {}, "the text is empty"),
        ("[MASK]" + "x" * 200, {}, "the text has 201 bytes, the model takes 126: shorten it, or truncate it"),
        ("x" * 200 + "[MASK]", {"truncate": True}, "the text has no mask"),
        ("abc", {"spans": [(1, 9)]}, "the span 1 to 9 is not inside the text, which has bytes 0 to 3"),
        ("abc", {"spans": [(2, 2)]}, "the span 2 to 2 is not inside the text"),
        (["[MASK]"], {"spans": [(0, 1)]}, "spans are of one text"),
        ([], {}, "the list of texts is empty: give at least one"),
        ("[MASK]", {"top_k": 0}, "top_k is 0: give a whole number of at least 1"),
        ("[MASK]", {"beams": 2}, "beams is 2, but 5 candidates are wanted: give at least 5, or a smaller top_k"),
    ],
)
def test_texts_that_are_refused(mlm: Any, text: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(pr.InputError, match=message):
        mlm(text, **options)


def test_long_text_can_be_cut(mlm: Any, classify: Any) -> None:
    assert mlm("[MASK]" + "x" * 200, truncate=True, top_k=1) == mlm("[MASK]" + "x" * 125, top_k=1)
    assert classify("y" * 500, truncate=True) == classify("y" * 126)


def test_labels(classify: Any, classify_image: Any) -> None:
    scores = classify("some text")
    assert sum(score.probability for score in scores) == pytest.approx(1, abs=1e-6)
    assert {score.label for score in scores} == {"kind 0", "kind 1", "kind 2"}
    many = classify(["some text", "other", ("some", "pair")], top_k=2)
    assert [len(each) for each in many] == [2, 2, 2]
    assert many[0][0].probability == pytest.approx(scores[0].probability, abs=1e-5)
    pictures = [data.astronaut(), data.camera()]
    together = classify_image(pictures, top_k=1)
    assert [classify_image(picture, top_k=1)[0].label for picture in pictures] == [each[0].label for each in together]


def test_another_input_size(bundles: dict[str, Path], classify_image: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fourier positions take any; what is cut out of the image stays the same share."""
    shapes = []
    encode = classify_image.graphs["encode"]
    monkeypatch.setattr(
        encode, "run", lambda inputs, run=encode.run: shapes.append(inputs["pixel_values"].shape) or run(inputs)
    )
    usual = classify_image(data.astronaut())
    assert classify_image(data.astronaut(), size=(224, 224)) == usual
    assert classify_image(data.astronaut(), size=(96, 160)) != usual
    assert shapes == [(1, 3, 224, 224), (1, 3, 224, 224), (1, 3, 96, 160)]
    assert classify_image.processor.resized((112, 56)).crop == (128, 64)
    for wrong in ((0, 9), (9999, 64), (64.5, 64)):
        with pytest.raises(pr.InputError, match="the size is"):
            classify_image(data.astronaut(), size=wrong)


def test_problems() -> None:
    logits = np.array([0.0, 2.0, -2.0], np.float32)
    names = ("a", "b", "c")
    assert Labels(names, "single_label").scores(logits, 1)[0].probability == pytest.approx(np.exp(2) / np.exp([0, 2, -2]).sum())
    assert Labels(names, "multi_label").scores(logits, 1)[0].probability == pytest.approx(1 / (1 + np.exp(-2)))
    assert Labels(names, "regression").scores(logits, 3)[2].probability == -2.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: p["classify"](""), "the text is empty"),
        (lambda p: p["classify"]([]), "the list of texts is empty"),
        (lambda p: p["classify"](7), "a text should be a str, found int"),
        (lambda p: p["classify_image"](np.zeros((1, 1, 3), np.uint8)), "of 1x1 pixels is too small"),
        (lambda p: p["classify_image"]([np.zeros((9, 9, 3), np.uint8), np.zeros((9, 9, 7), np.uint8)]), "image 1 has shape"),
        (lambda p: p["classify_image"]([]), "the list of images is empty"),
        (lambda p: p["autoencode"](clip(3)), "the clip has 3 frames, the model takes exactly 4"),
        (lambda p: p["autoencode"](clip(), np.array([np.nan], np.float32)), "the audio holds NaN"),
        (lambda p: p["autoencode"](clip(), np.zeros(9, np.float32), sampling_rate=-1), "the sampling rate is -1"),
        (lambda p: p["autoencode"].frames([4], clip()), r"frames \[4\] are asked for: give some of 0 to 3"),
        (lambda p: p["autoencode"].frames([], clip()), "frames"),
        (lambda p: p["autoencode"](clip(), query_chunk=0), "query_chunk is 0: give a whole number of at least 1"),
    ],
)
def test_what_is_refused(classify: Any, classify_image: Any, autoencode: Any, call: Any, message: str) -> None:
    with pytest.raises(pr.InputError, match=message):
        call({"classify": classify, "classify_image": classify_image, "autoencode": autoencode})


def test_no_clip_yet(bundles: dict[str, Path]) -> None:
    with pr.load(bundles["multimodal"]) as fresh, pytest.raises(pr.InputError, match="no clip was given in this thread yet"):
        fresh.frames([0])


def test_a_clip_is_encoded_once(autoencode: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: Counter[str] = Counter()
    for name, graph in autoencode.graphs.items():
        monkeypatch.setattr(graph, "run", lambda inputs, name=name, run=graph.run: runs.update([name]) or run(inputs))
    done: list[tuple[int, int]] = []
    result = autoencode(clip(), np.zeros(200), query_chunk=1000, progress=lambda now, total: done.append((now, total)))
    pixels, patches = 4 * 32 * 32, 16
    assert runs == {"encode": 1, "decode_video": -(-pixels // 1000), "decode_audio": 1, "decode_label": 1}
    assert done[0] == (0, pixels + patches)
    assert done[-1] == (pixels + patches, pixels + patches)
    runs.clear()
    encoded = autoencode.encode(clip(), np.zeros(200))
    autoencode(clip()[::-1])  # another clip takes nothing from it
    runs.clear()
    some = encoded.frames([3, 1])
    assert runs == {"decode_video": 1}
    np.testing.assert_allclose(some, result.video[[3, 1]], rtol=0, atol=1e-5 * np.abs(result.video).max())
    assert encoded.labels()[0].label == result.labels[0].label
    assert runs == {"decode_video": 1, "decode_label": 1}
    np.testing.assert_allclose(encoded.video(), result.video, rtol=0, atol=1e-5 * np.abs(result.video).max())
    np.testing.assert_allclose(encoded.audio(), result.audio, rtol=0, atol=1e-5 * np.abs(result.audio).max())
    assert runs["encode"] == 0


def test_the_last_clip_is_deprecated(autoencode: Any) -> None:
    expected = autoencode(clip())
    with pytest.warns(DeprecationWarning, match=r"keep clip = autoencode.encode\(video, audio\), then clip.frames"):
        found = autoencode.frames([2])
    np.testing.assert_allclose(found, expected.video[[2]], rtol=0, atol=1e-5 * np.abs(expected.video).max())
    with pytest.warns(DeprecationWarning, match="are deprecated"):
        assert autoencode.labels() == expected.labels


def test_features(bundles: dict[str, Path], tmp_path: Path) -> None:
    with pr.load(bundles["features of fill-mask"]) as features:
        one, two = features("a text"), features(["a text", "a longer text"])
        np.testing.assert_allclose(two[0], one, rtol=0, atol=1e-5 * np.abs(one).max())
        assert np.abs(two[1] - one).max() > 1e-2 * np.abs(one).max()
        with pytest.raises(pr.InputError, match="the list is empty"):
            features([])
        masked = features("a [MASK]")
        assert not np.array_equal(masked, features("a [MASK]", plain=True))
        path = tmp_path / "latents.npy"
        assert main(["run", str(bundles["features of fill-mask"]), "a [MASK]", "--plain", "-o", str(path)]) == 0
        np.testing.assert_allclose(np.load(path), features("a [MASK]", plain=True), atol=1e-5)
    with pr.load(bundles["features of multimodal"]) as features:
        assert features((clip(), None)).shape == (16, 32)
        with pytest.raises(pr.InputError, match=r"give a tuple of video, audio \(or None\); found ndarray"):
            features(clip())


@pytest.mark.parametrize(
    ("content", "message"), [("{}", "a list of names"), ('["a"', "not valid JSON"), ("[1, 2]", "a list of names")]
)
def test_labels_that_are_none(bundles: dict[str, Path], tmp_path: Path, content: str, message: str) -> None:
    bundle = Path(shutil.copytree(bundles["text-classification"], tmp_path / "bundle"))
    (bundle / "labels.json").write_text(content)
    files = Manifest.from_json((bundle / "manifest.json").read_bytes()).files
    changed = FileEntry("labels.json", *file_sha256(bundle / "labels.json"))
    edit_manifest(bundle, files=tuple(changed if entry.path == "labels.json" else entry for entry in files))
    with pytest.raises(pr.IntegrityError, match=message):
        pr.load(bundle)


def test_texts_of_strangers(
    classify: Any, bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`[MASK]` is a mask, unless the text is plain; lines from standard input always are."""
    text = "a[MASK]b"
    read, plain = (classify(text, plain=each)[0].probability for each in (False, True))
    assert read != plain
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{text}\n"))
    for arguments, expected in ([["-"], plain], [[text], read], [[text, "--plain"], plain]):
        assert main(["run", str(bundles["text-classification"]), *arguments, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)["results"][0]["labels"][0]["probability"]
        assert abs(found - expected) < 1e-6 < abs(read - plain)


def test_pairs_are_never_guessed(classify: Any) -> None:
    assert classify("some", pair="pair") == classify([("some", "pair")])[0] != classify("some")
    with pytest.raises(pr.InputError, match="a tuple may be a pair or two texts: give a list of texts"):
        classify(("some", "pair"))
    with pytest.raises(pr.InputError, match=r"pair= goes with one text"):
        classify(["some"], pair="pair")


def test_run_by_command(bundles: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each task's `perceiver run`: for people, and as JSON."""
    pr.write_video(tmp_path / "clip.gif", clip())
    pr.write_video(tmp_path / "long", clip(6))
    pr.write_wav(tmp_path / "clip.wav", np.zeros(44100, np.float32), 44100)
    np.save(tmp_path / "image.npy", data.chelsea())
    clip_file, sound, long = (str(tmp_path / name) for name in ("clip.gif", "clip.wav", "long"))
    calls = [
        ("fill-mask", ["a[MASK*2]", "--top-k", "2"], "  bytes 1 to 2:"),
        ("text-classification", ["one", "two", "--top-k", "1"], "kind"),
        ("text-classification", ["one", "--pair", "two"], "kind"),
        ("image-classification", [str(tmp_path / "image.npy")], "kind"),
        ("multimodal", [clip_file, "--audio", sound], "nothing reconstructed: add -o out.mp4"),
        (
            "multimodal",
            [clip_file, "--audio", sound, "-o", str(tmp_path / "o.gif"), "--audio-output", str(tmp_path / "o.wav")],
            "video reconstructed with a PSNR of",
        ),
        ("multimodal", [long, "--start", "1", "--frames", "0,2", "-o", str(tmp_path / "some")], "wrote"),
        ("features of fill-mask", ["a text", "-o", str(tmp_path / "latents.npy")], "latents 16x32"),
        ("features of multimodal", [clip_file], "latents 16x32"),
    ]
    for bundle, arguments, expected in calls:
        assert main(["run", str(bundles[bundle]), *arguments]) == 0, capsys.readouterr().err
        assert expected in capsys.readouterr().out
        assert main(["run", str(bundles[bundle]), *arguments, "--json", *(["--force"] if "-o" in arguments else [])]) == 0
        assert json.loads(capsys.readouterr().out)["provider"] == "CPUExecutionProvider"
    assert pr.read_video(tmp_path / "o.gif").shape == (4, 32, 32, 3)
    assert pr.read_wav(tmp_path / "o.wav").samples.shape == (256, 1)
    assert len(list((tmp_path / "some").iterdir())) == 2
    assert np.load(tmp_path / "latents.npy").shape == (16, 32)


@pytest.mark.parametrize(
    ("bundle", "arguments", "code", "message"),
    [
        ("fill-mask", ["no mask"], 1, "the text has no mask"),
        ("text-classification", ["a", "b", "--pair", "c"], 2, "--pair goes with one text, found 2"),
        ("image-classification", ["nowhere.png"], 1, "there is no file nowhere.png"),
        ("multimodal", ["nowhere.gif"], 1, "there is no clip nowhere.gif"),
        ("multimodal", ["clip.npy", "--frames", "1"], 2, "--frames goes with -o"),
        ("multimodal", ["clip.npy", "-o", "nowhere/o.gif"], 1, "there is no folder nowhere"),
        ("multimodal", ["clip.npy", "--start", "5"], 1, "clip.npy has 6 frames: the first of 4 can be number 0 to 2, not 5"),
    ],
)
def test_commands_that_are_refused(
    bundles: dict[str, Path],
    bundle: str,
    arguments: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("clip.npy", clip(6))
    assert main(["run", str(bundles[bundle]), *arguments]) == code
    err = capsys.readouterr().err
    assert message in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "task", ["fill-mask", "text-classification", "image-classification", "multimodal", "features of fill-mask"]
)
def test_verify_and_inspect(bundles: dict[str, Path], task: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(bundles[task])]) == 0
    assert "known answer right on CPUExecutionProvider" in capsys.readouterr().out
    assert main(["inspect", str(bundles[task])]) == 0
    assert "checked against torch: cases" in capsys.readouterr().out
    assert main(["inspect", str(bundles[task]), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["parity"]["summary"]["cases"] >= 2


def test_the_sample_is_not_named_after_a_temporary_file(bundles: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(bundles["image-classification"]), "--sample", "--json"]) == 0
    assert [each["input"] for each in json.loads(capsys.readouterr().out)["results"]] == ["sample"]
