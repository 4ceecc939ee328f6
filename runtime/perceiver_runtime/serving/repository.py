"""A bundle as models in a repository of Triton Inference Server: NAME_encode, NAME_decode…, and NAME where one call is enough.

Only a bundle that was verified is written. Another version of the same models is added beside the first: nothing that is there
is changed until the new version is complete, and the config that names it comes last. What its folder holds is said in
repositories/version_files.py, what is kept of a configuration in repositories/existing.py.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from perceiver_runtime.bundle.reader import Bundle
from perceiver_runtime.common.errors import InputError
from perceiver_runtime.serving.answering import ANSWER
from perceiver_runtime.serving.repositories.existing import completed, merged, read_config, refuse_batch, refuse_others
from perceiver_runtime.serving.repositories.models import (
    DEVICES,
    RepositoryOptions,
    check_name,
    check_options,
    largest_batch,
    models_of,
)
from perceiver_runtime.serving.repositories.samples import sample_inputs
from perceiver_runtime.serving.repositories.version_files import Weights, label_lines, write_version
from perceiver_runtime.serving.repositories.versions import versions_in
from perceiver_runtime.tasks.loading import check_task

__all__ = ["DEVICES", "RepositoryOptions", "write_repository"]


def write_repository(bundle: Bundle, repository: Path, name: str, asked: RepositoryOptions) -> dict[str, Any]:
    """Write a bundle's models; what was written.

    The known answer is run first, on this machine's CPU; in bfloat16, which no CPU runs, what else a pipeline checks is. What
    models that are there have set is kept, but for what is `asked`. Raises `InputError`, also for a bundle that cannot be a
    version of what is there, `UsageError`, `IntegrityError`, `VerificationError`, `BackendError`.
    """
    check_task(bundle, None)
    check_name(name)
    options = completed(repository / f"{name}_encode", asked)
    if (repository / f"{name}_{ANSWER}").is_dir():
        options = replace(options, processing=True)
    check_options(bundle, name, options)
    samples = sample_inputs(bundle)
    there = [repository / model for model in models_of(bundle, name, options, samples, 0)]
    version = options.version or 1 + max([0, *(last for model in there for last in versions_in(model))])
    models, texts = models_of(bundle, name, options, samples, version), {}
    for model, config in models.items():
        if (repository / model / str(version)).exists():
            raise InputError(f"{repository / model} has a version {version}: give another --version, or remove it")
        found = read_config(repository / model)
        if found is None:
            texts[model] = config.text()
            continue
        refuse_others(repository / model, found[1], config, label_lines(bundle) if config.labels else None)
        if asked.max_batch is None:
            refuse_batch(repository / model, found[1], largest_batch(bundle))
        texts[model] = merged(found[0], config, asked, versions_in(repository / model))
    repository.mkdir(parents=True, exist_ok=True)
    weights = Weights(bundle, copy=options.copy)
    for model, config in models.items():
        write_version(bundle, repository / model, config, version, texts[model], weights)
    return {"repository": str(repository), "models": list(models), "version": version, "bundle": bundle.manifest_sha256}
