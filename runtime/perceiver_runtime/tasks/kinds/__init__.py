"""Kinds of input, one a file: how each is read from files, from a bundle's sample and from a table, and what graphs take of it.

kind.py has the record, `KINDS` all that come with the runtime. A task from another package brings its own.
"""

from perceiver_runtime.tasks.kinds.audio import AUDIO
from perceiver_runtime.tasks.kinds.clip import CLIP
from perceiver_runtime.tasks.kinds.frames import FRAMES
from perceiver_runtime.tasks.kinds.image import IMAGE
from perceiver_runtime.tasks.kinds.kind import InputKind
from perceiver_runtime.tasks.kinds.question import QUESTION
from perceiver_runtime.tasks.kinds.text import TEXT
from perceiver_runtime.tasks.kinds.vectors import VECTORS
from perceiver_runtime.tasks.kinds.video import VIDEO

KINDS: dict[str, InputKind] = {kind.name: kind for kind in (TEXT, IMAGE, FRAMES, CLIP, VECTORS, AUDIO, VIDEO, QUESTION)}
