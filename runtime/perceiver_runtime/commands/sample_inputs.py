"""`--sample`: the inputs of a bundle's known answer, as what a user would have typed."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from perceiver_runtime.bundle.reader import open_bundle
from perceiver_runtime.tasks.known_answer import FILE, Sample
from perceiver_runtime.tasks.loading import check_task

_PREFIX = "perceiver-sample-"  # begins the name of the folder that the files are in


@contextlib.contextmanager
def sample_inputs(bundle_folder: str) -> Iterator[list[str]]:
    """The arguments that name the inputs; their files are there until the end. Raises `IntegrityError`."""
    bundle = open_bundle(bundle_folder)
    kind = check_task(bundle, None).kind(bundle.manifest)
    sample = Sample.read(bundle.read(FILE))
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as folder:
        yield kind.sample_files(sample.inputs, Path(folder), bundle.manifest.processor)


def is_sample_file(name: object) -> bool:
    """Whether this is one of those files, which nobody typed and which are gone afterwards."""
    return isinstance(name, str) and Path(name).parent.name.startswith(_PREFIX)
