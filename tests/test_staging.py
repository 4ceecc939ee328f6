"""What is written is complete or not there, and what --force deletes is a bundle and nothing else."""

import contextlib
import errno
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from perceiver_deploy import staging
from perceiver_deploy.staging import check_destination, clean_up, staged_folder
from perceiver_runtime import InputError
from perceiver_runtime.common.children import python_code

EXTENSION = '{"manifest_version": 3, "name": "somebody\'s browser extension", "version": "1.0"}'
HOLD = """
import contextlib, sys
from pathlib import Path
from perceiver_deploy.staging import staged_folder
with staged_folder(Path(sys.argv[1])) as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A bundle of one's own, to be replaced."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "flow"))


def replace(output: Path) -> None:
    with staged_folder(output, force=True) as folder:
        (folder / "new").touch()


@pytest.mark.parametrize("text", [EXTENSION, "", "{}", "[]", "\0"])
def test_force_replaces_bundles_only(text: str, tmp_path: Path) -> None:
    """Many things have a manifest.json."""
    folder = tmp_path / "extension"
    folder.mkdir()
    (folder / "manifest.json").write_text(text)
    (folder / "background.js").write_text("months of work")
    with pytest.raises(InputError, match=r"manifest.json that is not of a bundle.*choose another -o"):
        replace(folder)
    assert (folder / "background.js").read_text() == "months of work"


def test_what_a_user_put_into_a_bundle_stays(bundle: Path) -> None:
    (bundle / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds 'notes.txt', which is not part of the bundle"):
        replace(bundle)
    assert (bundle / "notes.txt").read_text() == "mine"


def test_what_is_put_there_meanwhile_stays(bundle: Path) -> None:
    with pytest.raises(InputError, match=r"notes.txt"), staged_folder(bundle, force=True):
        (bundle / "notes.txt").write_text("mine")
    assert (bundle / "notes.txt").read_text() == "mine"
    assert [path.name for path in bundle.parent.iterdir()] == ["flow"]


def test_what_comes_at_the_last_moment_is_named(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = os.rename

    def late(source: Path, target: Path) -> None:
        rename(source, target)
        if str(target).endswith("-old"):
            (Path(target) / "late").write_text("mine")

    monkeypatch.setattr(os, "rename", late)
    with pytest.warns(UserWarning, match="what is left is in") as said:
        replace(bundle)
    assert (bundle / "new").exists()
    (left,) = bundle.parent.glob(".flow.partial-*")
    assert str(left) in str(said[0].message)
    with pytest.warns(UserWarning, match="what is left is in"):
        clean_up(bundle)
    assert (left / "late").read_text() == "mine"


def test_a_damaged_bundle_is_replaced(bundle: Path) -> None:
    (bundle / "weights.safetensors").unlink()
    (bundle / "decode.onnx").write_bytes(b"")
    replace(bundle)
    assert os.listdir(bundle) == ["new"]


def test_a_link_stays_and_what_it_leads_to_is_replaced(bundle: Path) -> None:
    link = bundle.parent / "current"
    link.symlink_to("flow")
    replace(link)
    assert link.is_symlink()
    assert os.listdir(bundle) == ["new"]
    assert sorted(path.name for path in bundle.parent.iterdir()) == ["current", "flow"]


def test_links_that_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(InputError, match=r"loop"):
        check_destination(tmp_path / "loop", force=True)
    (tmp_path / "to").symlink_to("later")
    replace(tmp_path / "to")
    assert os.listdir(tmp_path / "later") == ["new"]


def test_what_another_export_writes_is_left_alone(tmp_path: Path) -> None:
    """Whatever the host and the process are called: two containers may share both names."""
    command = [*python_code(HOLD), str(tmp_path / "flow")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        held = Path(other.stdout.readline().strip())
        clean_up(tmp_path / "flow")
        assert held.is_dir()
        other.kill()
    assert held.is_dir()
    clean_up(tmp_path / "flow")
    assert os.listdir(tmp_path) == []


def test_killed_between_two_renames(bundle: Path) -> None:
    """The bundle that was about to be replaced is put back."""
    names = sorted(os.listdir(bundle))
    bundle.rename(bundle.with_name(".flow.partial-abc-old"))
    bundle.with_name(".flow.partial-abc").mkdir()
    clean_up(bundle)
    assert sorted(os.listdir(bundle)) == names
    assert os.listdir(bundle.parent) == ["flow"]


def test_killed_after_both(bundle: Path) -> None:
    shutil.copytree(bundle, bundle.with_name(".flow.partial-abc-old"))
    clean_up(bundle)
    assert os.listdir(bundle.parent) == ["flow"]


def test_without_locks_nothing_is_cleaned_up(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On NFS a folder cannot be locked: exports work, and what interrupted ones left stays."""

    def refused(*_: object) -> None:
        raise OSError(errno.EBADF, "Bad file descriptor")

    left = bundle.with_name(".flow.partial-abc")
    left.mkdir()
    monkeypatch.setattr(staging.fcntl, "flock", refused)
    clean_up(bundle)
    assert left.is_dir()
    replace(bundle)
    assert os.listdir(bundle) == ["new"]


def test_a_failure_leaves_nothing(bundle: Path) -> None:
    before = sorted(os.listdir(bundle))
    with contextlib.suppress(KeyboardInterrupt), staged_folder(bundle, force=True) as folder:
        (folder / "new").touch()
        raise KeyboardInterrupt
    assert sorted(os.listdir(bundle)) == before
    assert os.listdir(bundle.parent) == ["flow"]
