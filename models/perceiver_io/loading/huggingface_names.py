"""Names of tensors: ours to those of a Hugging Face checkpoint."""

from __future__ import annotations

import re
from collections.abc import Collection

_TEXT = [
    (r"^preprocessor\.embedding\.", "input_preprocessor.embeddings."),
    (r"^preprocessor\.positions\.table$", "input_preprocessor.position_embeddings.weight"),
]
_ONE_DECODER = [
    (r"^decoder\.queries\.table$", "decoder.decoder.output_position_encodings.position_embeddings"),
    (r"^decoder\.cross_attention\.", "decoder.decoder.decoding_cross_attention."),
    (r"^decoder\.output\.", "decoder.decoder.final_layer."),
]

# Applied in order, each at most once.
_BY_TASK: dict[str, list[tuple[str, str]]] = {
    "flow": [(r"^stem\.projection\.", "input_preprocessor.conv_after_patches."), *_ONE_DECODER],
    "fill-mask": [
        *_TEXT,
        (r"^queries\.table$", "decoder.output_position_encodings.position_embeddings"),
        (r"^decoder\.cross_attention\.", "decoder.decoding_cross_attention."),
    ],
    "text-classification": [*_TEXT, *_ONE_DECODER],
    "image-classification": [
        (r"^preprocessor\.convolution\.convolution\.", "input_preprocessor.convnet.conv."),
        (r"^preprocessor\.convolution\.norm\.", "input_preprocessor.convnet.batchnorm."),
        (r"^preprocessor\.convolution\.", "input_preprocessor.convnet_1x1."),
        (r"^preprocessor\.positions\.table$", "input_preprocessor.position_embeddings.position_embeddings"),
        (r"^preprocessor\.positions\.projection\.", "input_preprocessor.positions_projection."),
        *_ONE_DECODER,
    ],
    "multimodal": [
        (r"^preprocessor\.", "input_preprocessor."),
        (r"^decoder\.label\.table$", "decoder.modalities.label.decoder.output_position_encodings.position_embeddings"),
        (r"^decoder\.decoder\.cross_attention\.", "decoder.decoder.decoding_cross_attention."),
        (r"^decoder\.decoder\.output\.", "decoder.decoder.final_layer."),
        (r"^postprocessor\.modalities\.(\w+)\.projection\.", r"output_postprocessor.modalities.\1.classifier."),
    ],
    "features": _TEXT,
}
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
    for pattern, replacement in _BY_TASK[task] + _EVERYWHERE:
        name = re.sub(pattern, replacement, name, count=1)
    return name if task == "features" else f"perceiver.{name}"


def is_ignored(task: str, name: str) -> bool:
    """Whether a tensor of a Hugging Face checkpoint is of no use to the task: a decoder, where features are wanted."""
    return (
        task == "features" and re.match(r"(perceiver\.)?(decoder|output_postprocessor|embedding_decoder)\.", name) is not None
    )


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
