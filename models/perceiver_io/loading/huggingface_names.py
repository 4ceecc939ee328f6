"""Names of tensors: ours to those of a Hugging Face checkpoint."""

from __future__ import annotations

import re
from collections.abc import Collection

from perceiver_io.tasks.registry import TASKS

_EVERYWHERE = [
    (r"^encoder\.latents$", "embeddings.latents"),
    (r"^encoder\.self_attention\.", "encoder.self_attends."),
    (r"\.attention\.output\.(?=weight|bias)", ".attention.output.dense."),
    (r"\.attention\.(query|key|value)\.", r".attention.self.\1."),
    (r"\.(query_norm|norm)\.(?=weight|bias)", ".attention.self.layernorm1."),
    (r"\.input_norm\.", ".attention.self.layernorm2."),
    (r"\.mlp_norm\.", ".layernorm."),
    (r"\.mlp\.expand\.", ".mlp.dense1."),
    (r"\.mlp\.contract\.", ".mlp.dense2."),
]


def tensor_name(task: str, name: str) -> str:
    """The name in a Hugging Face checkpoint of one of our tensors.

    >>> tensor_name("flow", "encoder.self_attention.3.mlp.expand.weight")
    'perceiver.encoder.self_attends.3.mlp.dense1.weight'
    """
    if name == "output_bias":
        return "embedding_decoder.bias"
    for pattern, replacement in (*TASKS[task].names, *_EVERYWHERE):
        name = re.sub(pattern, replacement, name, count=1)
    return TASKS[task].prefix + name


def is_ignored(task: str, name: str) -> bool:
    """Whether a tensor of a Hugging Face checkpoint is of no use to the task: a decoder, where features are wanted."""
    ignored = TASKS[task].ignored
    return ignored is not None and re.match(ignored, name) is not None


# A tensor that only one class has; the first found decides. Fourier positions have none, so that class has no preprocessor's.
_KINDS = [
    ("input_preprocessor.conv_after_patches.weight", "PerceiverForOpticalFlow"),
    ("embedding_decoder.bias", "PerceiverForMaskedLM"),
    ("output_postprocessor.modalities.label.classifier.weight", "PerceiverForMultimodalAutoencoding"),
    ("input_preprocessor.convnet.conv.weight", "PerceiverForImageClassificationConvProcessing"),
    ("input_preprocessor.convnet_1x1.weight", "PerceiverForImageClassificationLearned"),
]


def kind_of(names: Collection[str]) -> str | None:
    """The class of transformers that has tensors of these names, or None where there is no telling."""
    bare = {name.removeprefix("perceiver.") for name in names}
    if "embeddings.latents" not in bare:
        return None
    for name, kind in _KINDS:
        if name in bare:
            return kind
    text = "input_preprocessor.embeddings.weight" in bare
    if "decoder.decoder.final_layer.weight" in bare:
        if text:
            return "PerceiverForSequenceClassification"
        image = not any(name.startswith(("input_preprocessor.", "output_postprocessor.")) for name in bare)
        return "PerceiverForImageClassificationFourier" if image else None
    return None if any(name.startswith("decoder.") for name in bare) else "PerceiverModel"


def is_krasserms(names: Collection[str]) -> bool:
    """Whether tensors of these names are of a model of krasserm/perceiver-io, which has layers and shapes of its own."""
    return any(re.search(r"(^|\.)(cross|self)_attn_1\.", name) for name in names)
