"""The tasks that models of one's own become, by the kinds of their inputs and outputs; all else is for arrays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from perceiver_deploy.own.kinds import Image, Labels, Text
from perceiver_deploy.own.media_kinds import Audio, Video
from perceiver_deploy.own.output_kinds import Boxes, BoxLabels, Spans, TokenLabels
from perceiver_runtime import UsageError


@dataclass(frozen=True)
class TaskRow:
    """A task for models of these kinds of inputs and outputs without queries, and its names for their tensors, in order.

    `sample` is what the known answer calls the parts of an input, `usage` what follows `perceiver run BUNDLE`; `item` makes
    the task's item of a kind's value. Where a task does not take
    `any_latents`, those are (B, N, D) alone.
    """

    task: str
    inputs: tuple[type, ...]
    outputs: tuple[type, ...]
    tensors: tuple[str, ...]
    output_names: tuple[str, ...]
    sample: tuple[str, ...]
    usage: str
    any_latents: bool = True
    item: Callable[[Any], Any] = lambda value: value

    def takes(self, inputs: tuple[type, ...], outputs: tuple[type, ...]) -> bool:
        """Whether these are its kinds; outputs in any order."""
        return self.inputs == inputs and Counter(self.outputs) == Counter(outputs)


def question_of(text: Any) -> tuple[str, str]:
    """A question and a text: what a tab divides, else the first third of a text and the rest, a character less."""
    first, tab, second = str(text).partition("\t")
    if tab and first and second:
        return first, second
    cut = max(1, len(text) // 3)
    return text[:cut], text[cut:-1] or text[cut:] or text[:cut]


TOKENS, PIXELS, A_TEXT, PAIR = ("input_ids", "attention_mask"), ("pixel_values",), '"a text"', ("question", "text")
ROWS = (
    TaskRow("text-classification", (Text,), (Labels,), TOKENS, ("logits",), ("text",), A_TEXT, any_latents=False),
    TaskRow("image-classification", (Image,), (Labels,), PIXELS, ("logits",), ("image",), "image.png", any_latents=False),
    TaskRow("audio-classification", (Audio,), (Labels,), ("audio",), ("logits",), ("audio",), "sound.wav"),
    TaskRow("video-classification", (Video,), (Labels,), PIXELS, ("logits",), ("video",), "clip.gif"),
    TaskRow("object-detection", (Image,), (BoxLabels, Boxes), PIXELS, ("logits", "boxes"), ("image",), "image.png"),
    TaskRow("question-answering", (Text,), (Spans,), TOKENS, ("logits",), PAIR, '"a question" "a text"', item=question_of),
    TaskRow("token-classification", (Text,), (TokenLabels,), TOKENS, ("logits",), ("text",), A_TEXT),
)


def refuse_alone(outputs: Mapping[str, Any]) -> None:
    """Raise `UsageError` for an output that only its own task can make something of."""
    for name, kind in outputs.items():
        row = next((row for row in ROWS if type(kind) in row.outputs and type(kind) is not Labels), None)
        if row is not None:
            given, gives = (" and ".join(each.__name__ for each in kinds) for kinds in (row.inputs, row.outputs))
            raise UsageError(
                f"{name} is {type(kind).__name__}, which is for {row.task}: {given} in, {gives} out, no queries; declare "
                "Arrays() for other models"
            )
