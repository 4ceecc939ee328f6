"""What pipelines share whose whole answer is one run of `encode` and one of `decode`, without queries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from perceiver_runtime.bundle.manifest import Manifest
from perceiver_runtime.bundle.reader import Bundle
from perceiver_runtime.common.arrays import Array
from perceiver_runtime.common.errors import BackendError, IntegrityError
from perceiver_runtime.common.records import record
from perceiver_runtime.tasks.labels import FILE as LABELS_FILE
from perceiver_runtime.tasks.labels import MAX_BYTES, read_labels
from perceiver_runtime.tasks.pipeline import Floats, Pipeline

T = TypeVar("T")


class OnePassPipeline(Pipeline):
    """A pipeline that gives `encode` its inputs, and `decode` what `encode` gives."""

    @classmethod
    def check_graphs(cls, manifest: Manifest) -> None:
        """Raise `IntegrityError` unless `decode` takes what `encode` gives and nothing else."""
        super().check_graphs(manifest)
        made = {spec.name for spec in manifest.graphs["encode"].outputs}
        asked = [spec.name for spec in manifest.graphs["decode"].inputs if spec.name not in made]
        if asked:
            raise IntegrityError(f"a {manifest.task} bundle has no queries, this one's decode takes {asked[0]}")

    def answer(self, inputs: Mapping[str, Array], **shapes: tuple[int | None, ...]) -> dict[str, Floats]:
        """The outputs that `shapes` names, which should have those (None: any size). Raises `BackendError`."""
        made = [spec.name for spec in self.manifest.graphs["encode"].outputs]
        latents = dict(zip(made, self.encode_inputs(inputs)))
        decode = self.manifest.graphs["decode"]
        outputs = self.outputs("decode", {spec.name: latents[spec.name] for spec in decode.inputs})
        found = dict(zip((spec.name for spec in decode.outputs), outputs))
        for name, shape in shapes.items():
            given = found[name].shape if name in found else None
            if given is None or len(given) != len(shape) or any(size not in (None, own) for size, own in zip(shape, given)):
                raise BackendError(f"decode gave {name} of shape {given}, expected {shape}")
        return {name: found[name] for name in shapes}


def answer_record(kind: type[T], manifest: Manifest) -> T:
    """What the manifest says of answers, under `answer`. Raises `IntegrityError`."""
    data: Any = manifest.processor.get("answer")
    if not isinstance(data, dict):
        raise IntegrityError(f"the manifest does not say what this {manifest.task} bundle answers: export it again")
    return record(kind, data, "manifest.processor.answer")


def label_names(bundle: Bundle) -> tuple[str, ...]:
    """The names in labels.json. Raises `IntegrityError`."""
    if LABELS_FILE not in bundle.present:
        raise IntegrityError(f"{bundle.folder} has no {LABELS_FILE}: export it again")
    return read_labels(bundle.read(LABELS_FILE, limit=MAX_BYTES))
