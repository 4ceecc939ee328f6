"""Bundles from the Hugging Face hub, through huggingface_hub into its cache: what a manifest lists, and nothing else.

The manifest is downloaded first. What the caller asks of it (its sha256, a signature) is checked before anything else comes,
and so are the sizes of all files as the hub knows them. The folder is one of the hub's cache, named after the commit; it is
opened as any other.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from perceiver_runtime.bundle.manifest import MAX_MANIFEST_BYTES, Manifest
from perceiver_runtime.bundle.origin.signature import FILE as SIGNATURE
from perceiver_runtime.bundle.origin.signature import MAX_BYTES as MAX_SIGNATURE_BYTES
from perceiver_runtime.bundle.origin.trust import MANIFEST, Trust, read_signature
from perceiver_runtime.common.errors import BackendError, InputError, IntegrityError, PerceiverError

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_NO_ANSWER = {"OfflineModeIsEnabled", "LocalEntryNotFoundError", "ConnectionError", "TimeoutError"}
_HTTP_PACKAGES = ("httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3")


class _Unreachable(BackendError):
    """No answer came from the hub."""


@dataclass(frozen=True)
class Download:
    """A bundle of the hub in its cache: complete, not yet opened."""

    folder: Path
    commit: str


def is_hub_name(name: str) -> bool:
    """Whether a text can name a repository of the hub: user/bundle."""
    return _NAME.fullmatch(name) is not None and ".." not in name


def download(name: str, *, revision: str | None, trust: Trust, again: bool = False) -> Download:
    """The bundle of a repository `user/bundle` at a branch, tag or commit (None: main), downloaded where the cache lacks it.

    A commit that is in the cache is not asked for, and without a connection the newest known one of a branch is taken. With
    `again` every file is downloaded anew. Raises `InputError` where there is none, or none that may be read, `IntegrityError`
    where it is not what `trust` asks for, `BackendError` without huggingface_hub or a connection.
    """
    hub = huggingface_hub()
    kept = None if again else _kept(hub, name, revision)
    if kept is not None and kept.commit == revision:
        return kept
    api = hub.HfApi()
    try:
        with asking(name, revision):
            sizes, commit = _listing(api, name, revision)
    except _Unreachable:
        if kept is None:
            raise
        return kept
    if MANIFEST not in sizes:
        raise InputError(f"{name} on the hub holds no bundle: {_what_it_is(name, sizes)}")
    _check_size(name, MANIFEST, sizes, MAX_MANIFEST_BYTES)
    with asking(name, revision):
        path = Path(api.hf_hub_download(name, MANIFEST, revision=revision, force_download=again))
        folder = path.parent
        if folder.name != commit:  # another was pushed meanwhile
            sizes, commit = _listing(api, name, folder.name)
        if SIGNATURE in sizes:
            _check_size(name, SIGNATURE, sizes, MAX_SIGNATURE_BYTES)
            api.hf_hub_download(name, SIGNATURE, revision=commit, force_download=again)
    manifest = _manifest(folder, trust)
    for entry in manifest.files:
        _check_size(name, entry.path, sizes, entry.size, exactly=True)
    with asking(name, revision):
        for entry in manifest.files:
            api.hf_hub_download(name, entry.path, revision=commit, force_download=again)
    return Download(folder, commit)


def _manifest(folder: Path, trust: Trust) -> Manifest:
    """The manifest of a folder of the cache, if it is what is asked for. Raises `IntegrityError`."""
    with open(folder / MANIFEST, "rb") as file:
        text = file.read(MAX_MANIFEST_BYTES + 1)
    trust.check_manifest(folder, text, read_signature(folder))
    return Manifest.from_json(text)


def _kept(hub: ModuleType, name: str, revision: str | None) -> Download | None:
    """What the cache has of a revision, if that is a whole bundle."""
    with contextlib.suppress(OSError, ValueError, IntegrityError):
        found = hub.try_to_load_from_cache(name, MANIFEST, revision=revision)
        if isinstance(found, str):
            folder = Path(found).parent
            if all((folder / entry.path).exists() for entry in _manifest(folder, Trust()).files):
                return Download(folder, folder.name)
    return None


def _listing(api: Any, name: str, revision: str | None) -> tuple[dict[str, int], str]:
    """The sizes of a repository's files, by name, and its commit."""
    found = api.model_info(name, revision=revision, files_metadata=True)
    if not _COMMIT.fullmatch(str(found.sha)):
        raise BackendError(f"the hub names no commit of {name}: ask again later")
    return {each.rfilename: each.size or 0 for each in found.siblings or ()}, found.sha


def _check_size(name: str, path: str, sizes: Mapping[str, int], size: int, *, exactly: bool = False) -> None:
    if path not in sizes:
        raise IntegrityError(f"{name} on the hub lacks {path}, which its manifest lists: take another revision")
    if sizes[path] > size or (exactly and sizes[path] != size):
        expected = f"the manifest says {size}" if exactly else f"at most {size} are allowed"
        raise IntegrityError(f"{path} of {name} on the hub has {sizes[path]} bytes, {expected}: do not use this bundle")


def _what_it_is(name: str, sizes: Mapping[str, int]) -> str:
    """What a repository without a manifest is, and what to do with it."""
    if any(path.endswith((".safetensors", "pytorch_model.bin")) for path in sizes):
        return f"it has a checkpoint's weights, so export it with perceiver-export --checkpoint {name}"
    return f"it has no {MANIFEST}; give a repository that perceiver-export --push wrote"


def huggingface_hub() -> ModuleType:
    """The package, whose reports of use are off. Raises `BackendError` where it is missing."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise BackendError("the hub needs the package huggingface_hub: pip install 'perceiver-runtime[hub]'") from error


@contextlib.contextmanager
def asking(name: str, revision: str | None = None) -> Iterator[None]:
    """What the hub and its package raise, as one sentence about the repository."""
    try:
        yield
    except PerceiverError:
        raise
    except Exception as error:  # of huggingface_hub's own kinds, and of its HTTP package, which depends on its version
        raise _refusal(name, revision, error) from error


def _refusal(name: str, revision: str | None, error: Exception) -> PerceiverError:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    of_http = any(kind.__module__.partition(".")[0] in _HTTP_PACKAGES for kind in type(error).__mro__)
    status = getattr(getattr(error, "response", None), "status_code", None)
    for kind, text in _REFUSALS.items():
        if kind in kinds:
            return InputError(text.format(name=name, revision=revision))
    if status is None and (of_http or kinds & _NO_ANSWER):
        offline = "this process is offline (HF_HUB_OFFLINE)" if "OfflineModeIsEnabled" in kinds else _first_line(error)
        return _Unreachable(f"the hub could not be reached for {name}, which is not in the cache: {offline}")
    if status in (401, 403):
        return InputError(f"the hub does not let this account at {name}: log in with hf auth login, or set another HF_TOKEN")
    if status is not None and status >= 500:
        return _Unreachable(f"the hub answered {status} for {name}, which is not in the cache: try again later")
    if status is None and isinstance(error, OSError) and error.strerror:
        return InputError(f"{error.filename or 'the cache of the hub'}: {error.strerror}")
    return BackendError(f"the hub refused {name}: {_first_line(error)}")


_REFUSALS: dict[str, str] = {  # by the names of huggingface_hub's errors, the narrower first
    "GatedRepoError": "{name} on the hub is gated: accept its terms on its page, and log in with hf auth login",
    "DisabledRepoError": "{name} was disabled by the hub: take another",
    "LocalTokenNotFoundError": "{name} needs an account on the hub: log in with hf auth login, or set HF_TOKEN",
    "RepositoryNotFoundError": "the hub has no {name}, or it is private: check the name, or log in with hf auth login",
    "RevisionNotFoundError": "{name} on the hub has no revision {revision}: give a branch, a tag or a commit",
    "HFValidationError": "{name} is no name that the hub takes: give user/bundle",
}


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200].rstrip(".")
