"""Mutated files into every reader of the runtime: it takes them or raises a `PerceiverError`, nothing else, and ends.

Likewise into `main()` of every command (commands.py), which ends in a documented exit code.

    python tests/fuzz/fuzz.py all --bundle BUNDLE --seconds 600 [--seed N]      # any target by name, or all
    python tests/fuzz/fuzz.py all --bundle BUNDLE --inputs 3000                 # the same inputs on any machine
    python tests/fuzz/fuzz.py checkpoint --bundle BUNDLE --inputs 100           # perceiver-export; with torch

Each input is a real file with bytes changed, cut, repeated or swapped. A find prints the exception and keeps the input in
tests/fuzz/corpus; `--replay` runs what is there. Memory is capped at 4 GB of address space
where the system can, with torch at 16 GB.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import importlib.util
import random
import shutil
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import commands
import differential
import numpy as np

from perceiver_runtime import PerceiverError
from perceiver_runtime.bundle.graph_check import GraphCheck
from perceiver_runtime.bundle.manifest import FileEntry, Manifest
from perceiver_runtime.bundle.origin.signature import sign, signed_files
from perceiver_runtime.bundle.reader import file_sha256, open_bundle
from perceiver_runtime.files.flo import read_flo
from perceiver_runtime.files.frames import open_video
from perceiver_runtime.files.images import read_image
from perceiver_runtime.files.pictures.png import decode_png16, encode_png
from perceiver_runtime.files.videos import read_sound, read_video, write_video
from perceiver_runtime.files.wav import Sound, read_wav
from perceiver_runtime.processing import tokenizer
from perceiver_runtime.tasks.known_answer import Sample
from perceiver_runtime.tasks.labels import read_labels
from perceiver_runtime.tasks.loading import load

CORPUS = Path(__file__).parent / "corpus"
SLOW = {"mp4": 5}  # a share of the inputs of others
SPECIAL = [
    b"\x00",
    b"\xff" * 4,
    b"\xff\xff\xff\x7f",
    struct.pack("<I", 1 << 31),
    struct.pack("<Q", 1 << 62),
    b"{",
    b"[" * 99,
    b"-1",
]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Some bytes changed, cut, repeated, swapped."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        where = rng.randrange(len(out) + 1)
        other = rng.randrange(len(out) + 1)
        kind = rng.randrange(6)
        if kind == 0 and out:
            out[min(where, len(out) - 1)] = rng.randrange(256)
        elif kind == 1:
            del out[where : where + rng.randint(1, 64)]
        elif kind == 2:
            out[where:where] = rng.choice(SPECIAL)
        elif kind == 3:
            out[where:where] = out[other : other + rng.randint(1, 64)]
        elif kind == 4:
            special = rng.choice(SPECIAL)
            out[where : where + len(special)] = special
        elif rng.random() < 0.2:
            del out[where:]
    return bytes(out)


MUTATIONS = {  # of targets that want their own
    "differential": differential.mutate,
    "bundlesample": commands.change_sample,
    **dict.fromkeys(commands.MUTATIONS_OF_JSON, commands.change_json),
}


def from_file(read: Callable[[Path], object], suffix: str) -> Callable[[bytes], None]:
    """What is given bytes, for a reader of files."""
    folder = Path(tempfile.mkdtemp())

    def run(data: bytes) -> None:
        path = folder / f"input{suffix}"
        path.write_bytes(data)
        read(path)

    return run


def whole_bundle(bundle: Path) -> Callable[[bytes], None]:
    """What is given a graph, for all that opens bundles: it takes the place of decode.onnx, with its sum in the manifest."""
    folder = Path(tempfile.mkdtemp()) / "bundle"
    shutil.copytree(bundle, folder)
    manifest = Manifest.from_json((folder / "manifest.json").read_bytes())

    def run(data: bytes) -> None:
        (folder / "decode.onnx").write_bytes(data)
        resealed = FileEntry("decode.onnx", *file_sha256(folder / "decode.onnx"))
        files = tuple(resealed if entry.path == resealed.path else entry for entry in manifest.files)
        (folder / "manifest.json").write_text(dataclasses.replace(manifest, files=files).to_json(), encoding="utf-8")
        load(folder, device="cpu", threads=1).close()

    return run


def targets(bundle: Path) -> dict[str, tuple[Callable[[bytes], object], bytes]]:
    """By name: what takes bytes, and a valid input."""
    opened = open_bundle(bundle)
    weights = {entry.path: entry.size for entry in opened.manifest.files if entry.path.endswith(".safetensors")}
    check, entry = GraphCheck("decode.onnx", weights), opened.manifest.graphs["decode"]
    found: dict[str, tuple[Callable[[bytes], object], bytes]] = {
        "manifest": (Manifest.from_json, (bundle / "manifest.json").read_bytes()),
        "graph": (lambda data: check.model(data, entry), (bundle / "decode.onnx").read_bytes()),
        "differential": (differential.against_onnx(check, entry), (bundle / "decode.onnx").read_bytes()),
        "bundle": (whole_bundle(bundle), (bundle / "decode.onnx").read_bytes()),
        "tokenizer": (
            lambda data: tokenizer.decode(tokenizer.tokenize(data.decode("utf-8", "replace"))),
            "aß東[MASK]".encode(),
        ),
        "sample": (from_file(Sample.read, ".npz"), (bundle / "sample.npz").read_bytes()),
        "labels": (read_labels, b'["one", "two", "drei"]'),
        "flo": (from_file(read_flo, ".flo"), b"PIEH" + struct.pack("<ii", 3, 2) + np.zeros(12, np.float32).tobytes()),
        "kitti": (lambda data: decode_png16(data, "a.png"), encode_png(np.zeros((3, 4, 3), np.uint16))),
        "wav": (from_file(read_wav, ".wav"), wav()),
        "npy": (from_file(read_image, ".npy"), npy()),
    }
    for suffix, picture in pictures().items():
        found[suffix[1:]] = (from_file(read_video if suffix == ".gif" else read_image, suffix), picture)
    if importlib.util.find_spec("av") is not None:
        found["mp4"] = (from_file(lambda path: [*open_video(path).frames(start=0.05), read_sound(path)], ".mp4"), mp4())
    if importlib.util.find_spec("cryptography") is not None:
        found["signature"] = signature()
    return found | commands.of_bundle(bundle)


def signature() -> tuple[Callable[[bytes], object], bytes]:
    """The reader of signatures, with the key of the one that is given."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, kind = ec.derive_private_key(7, ec.SECP256R1()), serialization
    private = key.private_bytes(kind.Encoding.PEM, kind.PrivateFormat.PKCS8, kind.NoEncryption())
    public = key.public_key().public_bytes(kind.Encoding.PEM, kind.PublicFormat.SubjectPublicKeyInfo)
    return lambda data: signed_files(data, public), sign({"manifest.json": "ab" * 32, "a": "cd" * 32}, "x", private)


def wav() -> bytes:
    """A tenth of a second of noise, 16 bits."""
    sound = np.random.default_rng(0).integers(-9999, 9999, 1600, np.int16).tobytes()
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 16000, 32000, 2, 16)
    head = struct.pack("<4sI4s", b"RIFF", 36 + len(sound), b"WAVE") + form + struct.pack("<4sI", b"data", len(sound))
    return head + sound


def npy() -> bytes:
    """A small grey image."""
    with tempfile.NamedTemporaryFile(suffix=".npy") as file:
        np.save(file.name, np.arange(48, dtype=np.uint8).reshape(6, 8))
        return Path(file.name).read_bytes()


def pictures() -> dict[str, bytes]:
    """A small picture in each format, where Pillow is."""
    try:
        from PIL import Image
    except ImportError:
        return {}
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    found = {}
    for suffix in (".png", ".jpg", ".bmp", ".tiff", ".webp", ".ppm", ".gif"):
        with tempfile.NamedTemporaryFile(suffix=suffix) as file:
            more = {"save_all": True, "append_images": [Image.fromarray(pixels[::-1])]} if suffix == ".gif" else {}
            Image.fromarray(pixels).save(file.name, **more)  # type: ignore[arg-type]
            found[suffix] = Path(file.name).read_bytes()
    return found


def mp4() -> bytes:
    """A small clip with sound."""
    frames = np.random.default_rng(0).integers(0, 256, (3, 16, 24, 3), np.uint8)
    with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
        write_video(file.name, frames, sound=Sound(np.zeros((960, 1), np.float32), 8000))
        return Path(file.name).read_bytes()


def attempt(name: str, run: Callable[[bytes], object], data: bytes) -> bool:
    """Whether all is well with this input."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run(data)
    except PerceiverError:
        return True
    except Exception:
        CORPUS.mkdir(exist_ok=True)
        kept = CORPUS / f"{name}-{hashlib.sha256(data).hexdigest()[:8]}"
        kept.write_bytes(data)
        print(f"{name}: {kept}\n{traceback.format_exc()}")
        return False
    return True


def limit_memory(most: int = 4 << 30) -> None:
    """4 GB of addresses, and an error for more."""
    if sys.platform.startswith("linux"):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def main() -> int:
    """0 where nothing was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target")
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=60, help="of all targets together")
    parser.add_argument("--inputs", type=int, default=sys.maxsize, help="at most, for each target; a tenth for commands")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--replay", action="store_true")
    options = parser.parse_args()
    kept = [path for path in sorted(CORPUS.glob("*-*")) if options.replay]
    with_torch = options.target == "checkpoint" or any(path.name.startswith(commands.OF_CHECKPOINT) for path in kept)
    limit_memory(16 << 30 if with_torch else 4 << 30)
    every = targets(options.bundle)
    chosen = list(every) if options.target == "all" else [options.target]
    if with_torch:
        more = commands.of_checkpoint()
        every |= more
        chosen = list(more)
    good = True
    if options.replay:
        for path in kept:
            name = path.name.partition("-")[0]
            good &= attempt(name, every[name][0], path.read_bytes())
        return 0 if good else 1
    rng = random.Random(options.seed)
    for name in chosen:
        run, seed = every[name]
        run(seed)  # the valid one is taken
        change = MUTATIONS.get(name, mutate)
        count, end = 0, time.monotonic() + options.seconds / len(chosen)
        while time.monotonic() < end and count < options.inputs // (SLOW | commands.SLOW).get(name, 1):
            good &= attempt(name, run, change(seed, rng))
            count += 1
        print(f"{name}: {count} inputs")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
