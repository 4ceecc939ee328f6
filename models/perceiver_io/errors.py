"""What cannot be used: a checkpoint, a task of another package."""


class CheckpointError(ValueError):
    """A checkpoint that cannot be found, read or matched to a model; the message names the way out."""


class TaskError(ValueError):
    """A task that another installed package brings and that cannot be loaded."""
