"""The versions in a repository: which bundles they are of, and taking one out of all its models."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from perceiver_runtime.common.errors import InputError
from perceiver_runtime.serving.model_config import BUNDLE_KEY
from perceiver_runtime.serving.repositories.existing import at_version, bundles_of, read_config, with_parameters
from perceiver_runtime.serving.repositories.pbtxt import texts
from perceiver_runtime.serving.repositories.version_files import CONFIG_FILE, put

_FIRST = "_encode"  # ends the name of the model that every bundle has


def versions_in(model: Path) -> list[int]:
    """The numbers of a model's folders."""
    return sorted(int(path.name) for path in model.iterdir() if path.name.isdecimal()) if model.is_dir() else []


def list_versions(repository: Path) -> list[dict[str, Any]]:
    """Each name's versions: `name`, `version`, `bundle` (the manifest's sha256), `models`. Raises `InputError`."""
    if not repository.is_dir():
        raise InputError(f"there is no repository at {repository}: give the folder that perceiver triton wrote (-o)")
    found = []
    for name in _names(repository):
        first = read_config(repository / f"{name}{_FIRST}")
        for version, sha256 in sorted(bundles_of(first[1] if first is not None else ()).items()):
            models = [model.name for model in _models(repository, name) if version in versions_in(model)]
            found.append({"name": name, "version": version, "bundle": sha256, "models": models})
    return found


def remove_version(repository: Path, name: str, version: int) -> dict[str, Any]:
    """Take a version out of all models of a name: first of their configurations, so that clients are told, then its folders.

    A model without another version goes altogether. Raises `InputError`.
    """
    listed = [each for each in list_versions(repository) if each["name"] == name]
    if version not in [each["version"] for each in listed]:
        there = ", ".join(str(each["version"]) for each in listed) or "none"
        raise InputError(f"{repository} has no version {version} of {name}, its versions: {there} (perceiver triton --list)")
    touched: list[str] = []
    gone: list[str] = []
    for model in _models(repository, name):
        if version not in versions_in(model):
            continue
        left = [each for each in versions_in(model) if each != version]
        (touched if left else gone).append(model.name)
        if not left:
            shutil.rmtree(model)
            continue
        with tempfile.TemporaryDirectory(prefix="old-", dir=model) as away:
            _forget(model, version, left, Path(away))
            os.rename(model / str(version), Path(away) / "version")
    return {"repository": str(repository), "name": name, "version": version, "models": touched, "removed": gone}


def _forget(model: Path, version: int, left: list[int], staging: Path) -> None:
    found = read_config(model)
    if found is None:
        return
    text = with_parameters(found[0], {f"{BUNDLE_KEY}{version}": None})
    steps = texts(found[1], "ensemble_scheduling", "step", "model_name")
    if steps:
        text = at_version(text, steps, max(left))
    put(model / CONFIG_FILE, text.encode(), staging)


def _names(repository: Path) -> list[str]:
    models = sorted(path for path in repository.iterdir() if path.name.endswith(_FIRST) and path.is_dir())
    found = [(path, read_config(path)) for path in models]
    return [path.name[: -len(_FIRST)] for path, config in found if config is not None and bundles_of(config[1])]


def _models(repository: Path, name: str) -> list[Path]:
    """All models of a name: those that begin with it, but for those of a longer name that is there too."""
    longer = [other for other in _names(repository) if other.startswith(f"{name}_")]
    models = [path for path in sorted(repository.iterdir()) if path.name == name or path.name.startswith(f"{name}_")]
    others = [path for path in models for other in longer if path.name == other or path.name.startswith(f"{other}_")]
    return [path for path in models if path not in others and path.is_dir()]
