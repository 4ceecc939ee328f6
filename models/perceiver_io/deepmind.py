"""DeepMind's own checkpoints: haiku parameters in a pickle, converted to a checkpoint of this package.

    python -m perceiver_io.deepmind language_perceiver_io_bytes.pickle --model deepmind/language-perceiver -o language

The file is read without running anything in it (unpickle.py). It says nothing of the model's configuration, so that is given:
one of the published ones. What DeepMind's code does otherwise than the checkpoints on the hub, this keeps as DeepMind has it:
GELU by tanh, and the convolution padded to half the size, not one pixel aside.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from perceiver_io.config import AnyConfig, ImageClassificationConfig
from perceiver_io.errors import CheckpointError
from perceiver_io.loading.checkpoint import check_tensors, save_checkpoint
from perceiver_io.loading.published import PUBLISHED
from perceiver_io.loading.unpickle import UnpickleError, read_arrays
from perceiver_io.printing import one_line
from perceiver_io.tasks.registry import TASKS

_POSITIONS = r"trainable_position_encoding/pos_embs$"
_LABEL_QUERY = r"^classification_decoder/~/basic_decoder/~/" + _POSITIONS
_BATCH_NORM = r"^image_preprocessor/~/conv2_d_downsample/~/batchnorm/"

# DeepMind's names to ours, applied in order, each at most once.
_PLACES = [
    (r"^(?:perceiver_)?encoder/~/" + _POSITIONS, "encoder.latents"),
    (r"^(?:perceiver_)?encoder/~/cross_attention/", "encoder.cross_attention."),
    (r"^(?:perceiver_)?encoder/~/self_attention/", "encoder.self_attention.0."),
    (r"^(?:perceiver_)?encoder/~/self_attention_(\d+)/", r"encoder.self_attention.\1."),
    (r"^embed/embeddings$", "preprocessor.embedding.weight"),
    (r"^" + _POSITIONS, "preprocessor.positions.table"),
    (r"^embedding_decoder/bias$", "output_bias"),
    (r"^basic_decoder/~/" + _POSITIONS, "queries.table"),
    (r"^(?:classification_decoder/~/|flow_decoder/~/)?basic_decoder/(cross_attention|output)/", r"decoder.\1."),
    (r"^multimodal_decoder/~/basic_decoder/(cross_attention|output)/", r"decoder.decoder.\1."),
    (r"^multimodal_decoder/~decoder_query/(\w+)_padding/pos_embs$", r"decoder.padding.\1"),
    (r"^multimodal_preprocessor/(\w+)_padding/pos_embs$", r"preprocessor.padding.\1"),
    (r"^multimodal_preprocessor/(\w+)_mask_token/pos_embs$", r"preprocessor.mask.\1"),
    (r"^projection_postprocessor/linear/", "postprocessor.modalities.image.projection."),
    (r"^audio_postprocessor/linear/", "postprocessor.modalities.audio.projection."),
    (r"^classification_postprocessor/linear/", "postprocessor.modalities.label.projection."),
    (r"^image_preprocessor/~/conv2_d/", "preprocessor.convolution."),
    (r"^image_preprocessor/~/conv2_d_downsample/~/conv/", "preprocessor.convolution.convolution."),
    (_BATCH_NORM + r"~/mean_ema/average$", "preprocessor.convolution.norm.running_mean"),
    (_BATCH_NORM + r"~/var_ema/average$", "preprocessor.convolution.norm.running_var"),
    (_BATCH_NORM, "preprocessor.convolution.norm."),
    (r"^image_preprocessor/~_build_network_inputs/" + _POSITIONS, "preprocessor.positions.table"),
    (r"^image_preprocessor/~_build_network_inputs/position_encoding_projector/linear/", "preprocessor.positions.projection."),
    (r"^image_preprocessor/patches_linear/", "stem.projection."),
    (r"(cross_attention\.)layer_norm/", r"\1query_norm."),
    (r"(cross_attention\.)layer_norm_1/", r"\1input_norm."),
    (r"(cross_attention\.)layer_norm_2/", r"\1mlp_norm."),
    (r"(self_attention\.\d+\.)layer_norm/", r"\1norm."),
    (r"(self_attention\.\d+\.)layer_norm_1/", r"\1mlp_norm."),
    (r"\.attention/linear/", ".attention.query."),
    (r"\.attention/linear_1/", ".attention.key."),
    (r"\.attention/linear_2/", ".attention.value."),
    (r"\.attention/linear_3/", ".attention.output."),
    (r"\.mlp/linear/", ".mlp.expand."),
    (r"\.mlp/linear_1/", ".mlp.contract."),
    (r"\.(?:w|scale)$", ".weight"),
    (r"\.(?:b|offset)$", ".bias"),
]


def our_name(task: str, name: str) -> str:
    """The name here of a tensor of DeepMind's, `module/parameter`.

    >>> our_name("flow", "perceiver_encoder/~/self_attention_3/mlp/linear/w")
    'encoder.self_attention.3.mlp.expand.weight'
    """
    name = re.sub(_LABEL_QUERY, TASKS[task].label_query, name)
    for pattern, replacement in _PLACES:
        name = re.sub(pattern, replacement, name, count=1)
    return name


def as_deepmind_has_it(config: AnyConfig) -> AnyConfig:
    """The configuration with DeepMind's GELU and padding."""
    changed: Any = replace(config, encoder=replace(config.encoder, activation="gelu_tanh"))
    if isinstance(config, ImageClassificationConfig):
        changed = replace(changed, image=replace(config.image, padding="same"))
    result: AnyConfig = changed
    return result


def convert(path: Path, task: str, config: AnyConfig) -> nn.Module:
    """The task's model with the weights of DeepMind's pickle. Raises `CheckpointError`."""
    try:
        found = read_arrays(path)
    except (UnpickleError, OSError) as error:
        raise CheckpointError(f"{path} cannot be converted: {error}") from error
    tensors = {}
    for name, array in _flat(found).items():
        if not name.endswith(("/counter", "/hidden")):  # of the moving averages; what they average is what counts
            ours = our_name(task, name)
            tensors[ours] = torch.tensor(_our_layout(name, array))
    model = TASKS[task].build(config)
    expected = {name: tensor for name, tensor in model.state_dict().items() if not name.endswith("num_batches_tracked")}
    check_tensors(path, expected, tensors)
    model.load_state_dict(tensors, strict=False)
    return model.eval()


def _flat(found: Mapping[str, Any]) -> dict[str, NDArray[np.float32]]:
    """module/parameter → array. An image model's file has its parameters and its moving averages apart."""
    trees = [found[key] for key in ("params", "state") if key in found] or [found]
    flat: dict[str, NDArray[np.float32]] = {}
    for tree in trees:
        for module, parameters in tree.items():
            if not isinstance(parameters, dict):
                raise CheckpointError(f"{module} should hold parameters by name: this is no file of haiku parameters")
            flat |= {f"{module}/{name}": np.asarray(array, np.float32) for name, array in parameters.items()}
    return flat


def _our_layout(name: str, array: NDArray[np.float32]) -> NDArray[np.float32]:
    if name.endswith("/w"):
        return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.transpose()  # convolutions: height, width, in, out
    return array.reshape(-1) if re.match(_BATCH_NORM, name) else array


def main() -> int:
    """Convert a file, as the command line says."""
    models = ", ".join(PUBLISHED)
    parser = argparse.ArgumentParser(prog="python -m perceiver_io.deepmind", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("pickle", type=Path, help="a file as published with DeepMind's code")
    parser.add_argument("--model", required=True, choices=PUBLISHED, metavar="NAME", help=f"which model it is: {models}")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="the checkpoint to write")
    arguments = parser.parse_args()
    published = PUBLISHED[arguments.model]
    try:
        if arguments.output.exists():
            raise CheckpointError(f"{arguments.output} is already there: choose another -o")
        model = convert(arguments.pickle, published.task, as_deepmind_has_it(published.config))
        save_checkpoint(model, arguments.output)
    except (CheckpointError, OSError) as error:
        print(one_line(str(error)), file=sys.stderr)
        return 1
    output = one_line(str(arguments.output))
    print(f"wrote {output}; next: perceiver-export --task {published.task} --checkpoint {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
