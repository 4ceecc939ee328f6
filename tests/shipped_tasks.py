"""The tasks that a checkpoint is shipped for, which tests of every task go through: a new one is in all of them."""

from perceiver_deploy.tasks.registry import EXPORT_TASKS
from perceiver_runtime.tasks.registry import BUILT_IN

TASKS = [task for task in BUILT_IN if task in EXPORT_TASKS and EXPORT_TASKS[task].shipped is not None]
