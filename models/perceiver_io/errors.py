"""The error of a checkpoint that cannot be used."""


class CheckpointError(ValueError):
    """A checkpoint that cannot be found, read or matched to a model; the message names the way out."""
