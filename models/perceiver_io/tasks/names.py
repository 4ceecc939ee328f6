"""Names of each task's tensors in a Hugging Face checkpoint: patterns of ours and what they become, each used at most once."""

Names = tuple[tuple[str, str], ...]

_TEXT: Names = (
    (r"^preprocessor\.embedding\.", "input_preprocessor.embeddings."),
    (r"^preprocessor\.positions\.table$", "input_preprocessor.position_embeddings.weight"),
)
_ONE_DECODER: Names = (
    (r"^decoder\.queries\.table$", "decoder.decoder.output_position_encodings.position_embeddings"),
    (r"^decoder\.cross_attention\.", "decoder.decoder.decoding_cross_attention."),
    (r"^decoder\.output\.", "decoder.decoder.final_layer."),
)
FLOW: Names = ((r"^stem\.projection\.", "input_preprocessor.conv_after_patches."), *_ONE_DECODER)
FILL_MASK: Names = (
    *_TEXT,
    (r"^queries\.table$", "decoder.output_position_encodings.position_embeddings"),
    (r"^decoder\.cross_attention\.", "decoder.decoding_cross_attention."),
)
TEXT_CLASSIFICATION: Names = (*_TEXT, *_ONE_DECODER)
IMAGE_CLASSIFICATION: Names = (
    (r"^preprocessor\.convolution\.convolution\.", "input_preprocessor.convnet.conv."),
    (r"^preprocessor\.convolution\.norm\.", "input_preprocessor.convnet.batchnorm."),
    (r"^preprocessor\.convolution\.", "input_preprocessor.convnet_1x1."),
    (r"^preprocessor\.positions\.table$", "input_preprocessor.position_embeddings.position_embeddings"),
    (r"^preprocessor\.positions\.projection\.", "input_preprocessor.positions_projection."),
    *_ONE_DECODER,
)
MULTIMODAL: Names = (
    (r"^preprocessor\.", "input_preprocessor."),
    (r"^decoder\.label\.table$", "decoder.modalities.label.decoder.output_position_encodings.position_embeddings"),
    (r"^decoder\.decoder\.cross_attention\.", "decoder.decoder.decoding_cross_attention."),
    (r"^decoder\.decoder\.output\.", "decoder.decoder.final_layer."),
    (r"^postprocessor\.modalities\.(\w+)\.projection\.", r"output_postprocessor.modalities.\1.classifier."),
)
FEATURES: Names = _TEXT
NO_FEATURES = r"(perceiver\.)?(decoder|output_postprocessor|embedding_decoder)\."  # what a model has beyond its encoder
