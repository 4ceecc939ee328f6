"""Targets of fuzz.py that call `main()` of the commands: a documented exit code and printable lines, or it is a find.

Of a bundle the manifest and the known answer are changed, and every sum made to fit; of a checkpoint what is beside its
weights. An input decides by its bytes which command gets it, so that a find can be repeated.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import hashlib
import io
import json
import logging
import random
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from perceiver_runtime import InputError
from perceiver_runtime.bundle.reader import file_sha256
from perceiver_runtime.commands.main import main
from perceiver_runtime.tasks.kinds import KINDS

MUTATIONS_OF_JSON = ("constants", "bundlemanifest", "config", "labelledconfig", "preprocessor", "tokenizerfile")
SLOW = {"bundlemanifest": 20, "bundlesample": 75}  # a share of the inputs of readers
OF_CHECKPOINT = ("config", "labelledconfig", "preprocessor", "tokenizerfile")  # which want torch
Target = tuple[Callable[[bytes], object], bytes]
BUNDLE_COMMANDS = (
    "verify",
    "verify --json",
    "inspect",
    "inspect --precision",
    "doctor",
    "run --sample",
    "bench --runs 1",
    "triton -o",
)
EXIT_CODES = {0, 1, 2, 3, 4, 5}
ODD: list[Any] = [
    *(None, True, False, 0, -1, 1, 8.5, 1e308, 1e-45, float("nan"), float("inf"), 1 << 31, 1 << 63, -(1 << 63), 10**40),
    *("", "8", "x", "../x", "/etc/passwd", "\x1b[2J", "\u202eabc", "\ud800", "a" * 5000, "B", "cpu", "--help", "con"),
    *([], {}, [[]], [None], [1, 2, 3], {"a": 1}, [0.5, 0.5, 0.5], [-1, -1], {"min": 1, "max": 1 << 62}),
]
CONSTANTS = {
    "text": {"max_length": 64},
    "image": {"size": [8, 8], "crop": [8, 8], "mean": [0.5] * 3, "std": [0.5] * 3, "resize": [9], "resample": 2, "scale": 0.01},
    "frames": {"tile": [16, 16], "min_overlap": 3, "flow_scale": 20.0, "query_chunk": 64},
    "clip": {
        "frames": 2,
        "frame_size": [8, 8],
        "audio_samples": 32,
        "samples_per_patch": 16,
        "sampling_rate": 8000,
        "query_chunk": 64,
        "query_bytes": 64,
    },
    "vectors": {"channels": 3},
}
ITEMS: dict[str, Any] = {
    "text": "a text",
    "image": np.zeros((9, 7, 3), np.uint8),
    "frames": (np.zeros((9, 7, 3), np.uint8),) * 2,
    "clip": (np.zeros((2, 9, 7, 3), np.uint8), np.zeros(32, np.float32)),
    "vectors": np.zeros((4, 3), np.float32),
}


class Find(Exception):
    """A command that ended otherwise than documented."""


def run(command: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> None:
    """A command in this process. Raises `Find`, and what the command did not catch."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code: object = command(arguments)
        except SystemExit as left:
            code = left.code
    said = out.getvalue() + err.getvalue()
    if code not in EXIT_CODES or (code and not err.getvalue()) or "Traceback" in said:
        raise Find(f"{arguments} ended with {code!r}: {said[-500:]}")
    if not all(line.isprintable() for line in said.split("\n")):
        raise Find(f"{arguments} said {said[-500:]!r}")
    if "--json" in arguments:
        json.loads(out.getvalue())


def change_json(data: bytes, rng: random.Random) -> bytes:
    """One to three values of a JSON object replaced by odd ones, removed, or moved to another key."""
    value = json.loads(data)
    for _ in range(rng.randint(1, 3)):
        place: Any = value
        while True:
            keys: list[Any] = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = rng.choice(keys)
            if isinstance(place[key], (dict, list)) and place[key] and rng.random() < 0.9:
                place = place[key]
                continue
            kind = rng.randrange(10)
            if kind == 0:
                del place[key]
            elif kind == 1 and isinstance(place, dict):
                place[rng.choice(["", "x", "\x1b[2J", "a" * 300, *keys])] = place.pop(key)
            elif kind == 2 and isinstance(place, list):
                place += [place[key]] * rng.choice([1, 100])
            else:
                place[key] = copy.deepcopy(rng.choice(ODD))
            break
    return json.dumps(value).encode()


def change_sample(data: bytes, rng: random.Random) -> bytes:
    """An array of an .npz replaced: another type, shape or value, another name."""
    with np.load(io.BytesIO(data)) as arrays:
        members = {name: arrays[name] for name in arrays.files}
    name = rng.choice(sorted(members))
    array = members.pop(name) if rng.random() < 0.9 else members[name]
    kind = rng.randrange(6)
    with np.errstate(all="ignore"):
        if kind == 0:
            array = array.astype(rng.choice(["f2", "f4", "f8", "c8", "i1", "i8", "u8", "?", ">f4", ">i8", "S3", "U2", "g"]))
        elif kind == 1:
            array = rng.choice([array.reshape(-1), array[None], array[:0], array[..., None], array.T, array.reshape(-1)[0]])
        elif kind == 2:
            array = np.where(rng.random() < 0.5, array, np.array(rng.choice([np.nan, np.inf, -1, 1e30, 1 << 62, 255])))
        elif kind == 3:
            name = rng.choice(["input.rows", "input.text", "input.\x1b[2J", "x", "output.logits", *members, f"{name}.y"])
        elif kind == 4:
            array = np.concatenate([array] * rng.choice([2, 30]))
        else:
            array = (array.astype(np.float64) * rng.choice([-1, 1e6, 0])).astype(array.dtype)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for key, value in {**members, name: array}.items():
            with archive.open(f"{key}.npy", "w") as file:
                np.save(file, value)
    return out.getvalue()


def processors(data: bytes) -> None:
    """The constants of every kind of input, and what is made with them."""
    for kind, constants in json.loads(data).items():
        if kind in KINDS and isinstance(constants, dict):
            try:
                KINDS[kind].reader(constants)([ITEMS[kind]], {"truncate": True})
            except MemoryError as error:
                raise InputError("too large") from error


def of_bundle(bundle: Path) -> dict[str, Target]:
    """Commands on a bundle whose manifest or known answer was changed."""
    folder = Path(tempfile.mkdtemp()) / "bundle"
    shutil.copytree(bundle, folder)
    manifest, sample = ((bundle / name).read_bytes() for name in ("manifest.json", "sample.npz"))

    def attempt(data: bytes) -> None:
        text = BUNDLE_COMMANDS[zlib.crc32(data) % len(BUNDLE_COMMANDS)]
        command, *options = text.split()
        with tempfile.TemporaryDirectory() as output:
            run(main, [command, str(folder), *options, *([output] if command == "triton" else [])])

    def of_manifest(data: bytes) -> None:
        (folder / "sample.npz").write_bytes(sample)
        (folder / "manifest.json").write_bytes(sealed(json.loads(data)))
        attempt(data)

    def of_sample(data: bytes) -> None:
        (folder / "sample.npz").write_bytes(data)
        found = json.loads(manifest)
        size, digest = file_sha256(folder / "sample.npz")
        for entry in found["files"]:
            entry.update({"size": size, "sha256": digest} if entry["path"] == "sample.npz" else {})
        (folder / "manifest.json").write_bytes(sealed(found))
        attempt(data)

    return {
        "constants": (processors, json.dumps(CONSTANTS).encode()),
        "bundlemanifest": (of_manifest, manifest),
        "bundlesample": (of_sample, sample),
    }


def sealed(data: dict[str, Any]) -> bytes:
    """A manifest with the sum that fits."""
    data.pop("sha256", None)
    body = json.dumps(data, indent=2, ensure_ascii=False).encode("utf-8", "surrogatepass")
    digest = hashlib.sha256(body).hexdigest()
    return body[:-2] + f',\n  "sha256": "{digest}"\n}}\n'.encode()


def of_checkpoint() -> dict[str, Target]:
    """perceiver-export on checkpoints whose files beside the weights were changed; up to where graphs are traced."""
    from perceiver_deploy import cli, export
    from perceiver_io.loading.checkpoint import SHIPPED

    tokenizer = {"tokenizer_class": "PerceiverTokenizer", "model_max_length": 2048, "add_prefix_space": False}
    tokenizer |= {"mask_token": "[MASK]", "added_tokens_decoder": {"3": {"content": "[MASK]", "special": True}}}
    files = {
        "config": ("digits-fourier", "config.json", None),
        "labelledconfig": ("glosses-small", "config.json", None),
        "preprocessor": ("digits-fourier", "preprocessor_config.json", None),
        "tokenizerfile": ("fill-mask-small", "tokenizer_config.json", json.dumps(tokenizer).encode()),
    }

    def attempt(folder: Path, name: str, data: bytes) -> None:
        (folder / name).write_bytes(data)
        with (
            tempfile.TemporaryDirectory() as output,
            mock.patch.object(export, "export_graphs", side_effect=InputError("enough")),
        ):
            run(cli.main, ["--checkpoint", str(folder), "-o", f"{output}/bundle"])

    found: dict[str, Target] = {}
    logging.disable(logging.WARNING)
    for target, (checkpoint, name, seed) in files.items():
        folder = Path(tempfile.mkdtemp()) / "checkpoint"
        shutil.copytree(SHIPPED[checkpoint], folder)
        found[target] = (functools.partial(attempt, folder, name), seed or (folder / name).read_bytes())
    return found
