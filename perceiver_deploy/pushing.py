"""Bundles to the Hugging Face hub: one commit with all of a bundle, into a repository that holds nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perceiver_runtime import InputError, IntegrityError, UsageError
from perceiver_runtime.bundle.manifest import MAX_MANIFEST_BYTES, Manifest
from perceiver_runtime.bundle.origin.hub import asking, huggingface_hub, is_hub_name
from perceiver_runtime.bundle.origin.signature import FILE as SIGNATURE
from perceiver_runtime.bundle.origin.trust import MANIFEST
from perceiver_runtime.bundle.reader import open_bundle

_USUAL = {".gitattributes", "README.md"}  # of a repository that is new


def check_push(name: str) -> None:
    """Raise before an export whose bundle could not be pushed: no such name, not logged in, a repository of something else."""
    if not is_hub_name(name):
        raise UsageError(f"{name} names no repository of the hub: give user/bundle")
    api = huggingface_hub().HfApi()
    with asking(name):
        api.whoami()
        if api.repo_exists(name):
            _files(api, name)


def push_bundle(folder: str | Path, name: str, *, private: bool | None = None) -> str:
    """Push a bundle, checked, with its signature if it has one, to the repository `user/bundle`; the address of the commit.

    The repository is made if it is not there, `private` or as the account has it. It may hold a bundle, which is replaced, and
    nothing else. All is one commit: what fails leaves the repository as it was. Raises `UsageError`, `InputError`,
    `IntegrityError`, `BackendError`.
    """
    if not is_hub_name(name):
        raise UsageError(f"{name} names no repository of the hub: give user/bundle")
    bundle = open_bundle(folder)
    hub = huggingface_hub()
    api = hub.HfApi()
    names = {MANIFEST, *(entry.path for entry in bundle.manifest.files)}
    names |= {SIGNATURE} if (bundle.folder / SIGNATURE).exists() else set()
    with asking(name):
        api.create_repo(name, private=private, exist_ok=True)
        there, commit = _files(api, name)
        stale = sorted(set(_listed(api, name, there, commit)) & there.keys() - names)
        operations = [hub.CommitOperationDelete(path) for path in stale]
        operations += [hub.CommitOperationAdd(path, bundle.folder / path) for path in sorted(names)]
        done = api.create_commit(
            name,
            operations,
            commit_message=f"{bundle.manifest.task} bundle, {bundle.manifest.precision}",
            commit_description=f"manifest sha256 {bundle.manifest_sha256}",
            parent_commit=commit,
        )
    return str(done.commit_url)


def _files(api: Any, name: str) -> tuple[dict[str, int], str]:
    """The files of a repository and its commit. Raises `InputError` where it is for something else."""
    found = api.model_info(name, files_metadata=True)
    sizes = {each.rfilename: each.size or 0 for each in found.siblings or ()}
    others = sorted(sizes.keys() - _USUAL)
    if others and MANIFEST not in sizes:
        raise InputError(f"{name} on the hub holds {others[0]} and no bundle: push to a repository of its own")
    return sizes, found.sha


def _listed(api: Any, name: str, there: Mapping[str, int], commit: str) -> list[str]:
    """What the bundle that is there lists, and its signature."""
    if MANIFEST not in there or there[MANIFEST] > MAX_MANIFEST_BYTES:
        return []
    text = Path(api.hf_hub_download(name, MANIFEST, revision=commit)).read_bytes()
    try:
        return [SIGNATURE, *(entry.path for entry in Manifest.from_json(text).files)]
    except IntegrityError:
        return [SIGNATURE]
