"""Signed bundles: what was signed is used, and nothing else; in the format of OpenSSF model signing, as its own tool has it."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from forgery import edit_manifest, reseal
from hub_server import Hub, Repository

import perceiver_runtime as pr
from perceiver_runtime.bundle.origin.signature import sign, signed_files
from perceiver_runtime.commands.main import main
from perceiver_runtime.common.children import python_module

OPENSSL = shutil.which("openssl")
pytestmark = pytest.mark.skipif(OPENSSL is None, reason="keys are made with openssl")


def make_key(folder: Path, name: str, curve: str = "P-256", *more: str) -> Path:
    """A private key as docs/hub.md makes it, and its public one beside it with the ending .pub."""
    key = folder / f"{name}.pem"
    command = ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{curve}", *more, "-out", str(key)]
    subprocess.run(command, check=True, capture_output=True)
    password = ["-passin", more[-1]] if more else []
    public = ["openssl", "pkey", "-in", str(key), *password, "-pubout", "-out", str(key.with_suffix(".pub"))]
    subprocess.run(public, check=True, capture_output=True)
    return key


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    for name, curve in (("own", "P-256"), ("other", "P-256"), ("p384", "P-384"), ("p521", "P-521"), ("k1", "secp256k1")):
        make_key(folder, name, curve)
    return folder


@pytest.fixture
def signed(tiny_bundle: Path, keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A bundle that was signed with the own key."""
    folder = shutil.copytree(tiny_bundle, tmp_path / "signed")
    assert main(["sign", str(folder), "--key", str(keys / "own.pem")]) == 0
    assert "which covers 6 files" in capsys.readouterr().out
    return folder


def test_signed(signed: Path, keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    public = keys / "own.pub"
    pr.load(signed, public_key=public).close()
    pr.load(signed, public_key=public.read_bytes()).close()
    pr.load(signed).close()  # who asks for nothing gets what there is
    (signed / ".gitattributes").write_text("")  # git's own files are left out, as in the format
    assert main(["verify", str(signed), "--public-key", str(public)]) == 0
    assert main(["inspect", str(signed), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.partition("\n{")[2].join(["{", ""]))["unlisted"] == [".gitattributes"]


def _changed(bundle: Path) -> None:
    content = bytearray((bundle / "sample.npz").read_bytes())
    content[-1] ^= 1
    reseal(bundle, "sample.npz", bytes(content))


def _manifest_edited(bundle: Path) -> None:
    edit_manifest(bundle, tools={"x": "1"})


def _weights_damaged(bundle: Path) -> None:
    content = bytearray((bundle / "weights.safetensors").read_bytes())
    content[-1] ^= 1
    (bundle / "weights.safetensors").write_bytes(content)


def _signature(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def attack(bundle: Path) -> None:
        data = json.loads((bundle / "model.sig").read_text())
        change(data)
        (bundle / "model.sig").write_text(json.dumps(data))

    return attack


def _payload_edited(data: dict[str, Any]) -> None:
    envelope = data["dsseEnvelope"]
    envelope["payload"] = base64.b64encode(base64.b64decode(envelope["payload"]).replace(b"e", b"f", 1)).decode()


ATTACKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "unsigned": (lambda bundle: (bundle / "model.sig").unlink(), "is not signed, it has no model.sig"),
    "a changed file": (_changed, "manifest.json is not what was signed"),
    "a changed manifest": (_manifest_edited, "manifest.json is not what was signed"),
    "damaged weights": (_weights_damaged, "weights.safetensors is damaged"),
    "an added file": (lambda bundle: (bundle / "evil.onnx").write_bytes(b"x"), "holds, or was signed with, 'evil.onnx'"),
    "a removed file": (lambda bundle: (bundle / "README.md").unlink(), "README.md is missing"),
    "a hint of another key": (
        _signature(lambda data: data["verificationMaterial"]["publicKey"].update(hint="0" * 64)),
        "model.sig was made with another key than the one given",
    ),
    "a changed payload": (_signature(_payload_edited), "was not made with the key given, or was changed"),
    "no base64": (_signature(lambda data: data["dsseEnvelope"].update(payload="ä")), "model.sig is damaged"),
    "a certificate's": (_signature(lambda data: data["verificationMaterial"].pop("publicKey")), "made with a certificate"),
    "two signatures": (
        _signature(lambda data: data["dsseEnvelope"]["signatures"].append(data["dsseEnvelope"]["signatures"][0])),
        "is no signature of one key in OpenSSF's model signing format",
    ),
    "another format": (_signature(lambda data: data.update(mediaType="text/plain")), "is no signature of one key"),
    "not JSON": (lambda bundle: (bundle / "model.sig").write_bytes(b"\xff"), "model.sig is not valid JSON"),
    "too long": (lambda bundle: (bundle / "model.sig").write_bytes(b" " * ((1 << 20) + 1)), "more than the 1048576 bytes"),
    "too deep": (lambda bundle: (bundle / "model.sig").write_bytes(b"[" * 99), "nested more than"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_refused(attack: str, signed: Path, keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each by load and by command; without the key the loader's own rules hold."""
    change, message = ATTACKS[attack]
    change(signed)
    with pytest.raises(pr.IntegrityError, match=message.replace("'", ".")):
        pr.load(signed, public_key=keys / "own.pub")
    assert main(["verify", str(signed), "--public-key", str(keys / "own.pub")]) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_nothing_is_loaded_before(signed: Path, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger's manifest is not even parsed."""
    (signed / "manifest.json").write_bytes(b"[" * 9999)
    with pytest.raises(pr.IntegrityError, match="is not what was signed"):
        pr.load(signed, public_key=keys / "own.pub")
    with pytest.raises(pr.IntegrityError, match="nested"):
        pr.load(signed)


def test_another_key(signed: Path, keys: Path) -> None:
    with pytest.raises(pr.IntegrityError, match="made with another key"):
        pr.load(signed, public_key=keys / "other.pub")
    # without a hint, which nothing protects, the signature itself says so
    data = json.loads((signed / "model.sig").read_text())
    data["verificationMaterial"]["publicKey"] = {}
    (signed / "model.sig").write_text(json.dumps(data))
    with pytest.raises(pr.IntegrityError, match="was not made with the key given"):
        pr.load(signed, public_key=keys / "other.pub")
    pr.load(signed, public_key=keys / "own.pub").close()


def test_a_signature_of_another_bundle(signed: Path, small_bundle: Path, keys: Path, tmp_path: Path) -> None:
    other = shutil.copytree(small_bundle, tmp_path / "other")
    shutil.copy(signed / "model.sig", other)
    with pytest.raises(pr.IntegrityError, match=r"manifest\.json is not what was signed"):
        pr.load(other, public_key=keys / "own.pub")


@pytest.mark.parametrize("name", ["own", "p384", "p521"])
def test_round_trip(name: str, keys: Path) -> None:
    files = {"b": "22" * 32, "a": "11" * 32}
    content = sign(files, "x", (keys / f"{name}.pem").read_bytes())
    assert signed_files(content, (keys / f"{name}.pub").read_bytes()) == files


def test_keys_that_cannot_be_used(signed: Path, keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    encrypted = make_key(tmp_path, "encrypted", "P-256", "-aes256", "-pass", "pass:secret")
    (tmp_path / "text.pem").write_text("hello")

    def refusal(*arguments: object) -> str:
        assert main([*map(str, arguments)]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        return line

    sign_again = ["sign", signed, "--force", "--key"]
    assert "the private key is encrypted: give its password" in refusal(*sign_again, encrypted)
    assert "this is no private key in PEM" in refusal(*sign_again, tmp_path / "text.pem")
    assert "this is no private key in PEM" in refusal(*sign_again, keys / "own.pub")
    assert "make one of an elliptic curve, P-256, P-384, P-521" in refusal(*sign_again, keys / "k1.pem")
    assert "gone.pem cannot be read: No such file" in refusal(*sign_again, tmp_path / "gone.pem")
    assert "this is a private key: give the public one" in refusal("verify", signed, "--public-key", keys / "own.pem")
    assert "this is no public key in PEM" in refusal("verify", signed, "--public-key", tmp_path / "text.pem")
    pr.load(signed, public_key=keys / "own.pub").close()  # the old signature stayed


def test_what_cannot_be_signed(signed: Path, keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["sign", str(signed), "--key", str(keys / "own.pem")]
    assert main(command) == 1
    assert "model.sig is already there: --force signs anew" in capsys.readouterr().err
    (signed / "notes.txt").write_text("x")
    assert main([*command, "--force"]) == 1
    assert "holds 'notes.txt', which is no file of the bundle: move it away" in capsys.readouterr().err
    (signed / "notes.txt").unlink()
    _weights_damaged(signed)
    assert main([*command, "--force"]) == 4


def test_without_cryptography(signed: Path, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cryptography.hazmat.primitives.serialization", None)
    with pytest.raises(pr.BackendError, match=r"pip install 'perceiver-runtime\[sign\]'"):
        pr.load(signed, public_key=keys / "own.pub")


def test_of_the_hub(signed: Path, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signature is downloaded and checked before anything else; an unsigned bundle is refused after its manifest."""
    hub = Hub()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
    template = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    files = {path.name: path.read_bytes() for path in signed.iterdir()} | {".gitattributes": b""}
    hub.repositories["own/signed"] = Repository(files)
    hub.repositories["own/unsigned"] = Repository({name: files[name] for name in files if name != "model.sig"})
    pr.load("own/signed", public_key=keys / "own.pub").close()
    hub.asked.clear()
    for name, key in (("own/unsigned", "own"), ("own/signed", "other")):
        with pytest.raises(pr.IntegrityError, match=r"not signed|another key"):
            pr.load(name, public_key=keys / f"{key}.pub")
    hub.close()
    assert not [each for each in hub.asked if each.endswith((".onnx", ".safetensors", ".npz"))]


def test_isolated(signed: Path, keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The key goes to the child."""
    assert main(["verify", "--isolated", str(signed), "--public-key", str(keys / "other.pub")]) == 4
    assert "made with another key" in capsys.readouterr().err


def test_model_signing_reads_ours_and_we_read_its(signed: Path, keys: Path) -> None:
    """Both ways with its own command, on the same bundle."""
    tool = python_module("model_signing")
    options = ["--signature", str(signed / "model.sig"), str(signed)]

    def run(*arguments: str) -> tuple[int, str]:
        done = subprocess.run([*tool, *arguments, *options], capture_output=True, text=True, check=False, env={**os.environ})
        return done.returncode, done.stdout + done.stderr

    assert run("verify", "key", "--public_key", str(keys / "own.pub"))[0] == 0
    code, said = run("verify", "key", "--public_key", str(keys / "other.pub"))  # the negative control
    assert (code != 0, "Key mismatch" in said) == (True, True)
    (signed / "model.sig").unlink()
    for name in ("own", "p384", "p521"):
        assert run("sign", "key", "--private_key", str(keys / f"{name}.pem"))[0] == 0
        pr.load(signed, public_key=keys / f"{name}.pub").close()
    with pytest.raises(pr.IntegrityError, match="made with another key"):
        pr.load(signed, public_key=keys / "own.pub")
    (signed / "sample.npz").write_bytes(b"x")
    assert run("verify", "key", "--public_key", str(keys / "p521.pub"))[0] != 0
