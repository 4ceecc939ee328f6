"""Masked words, kinds of things by their definitions, and fields. The sentences were made up for this."""

from __future__ import annotations

from pathlib import Path

import perceiver_runtime as pr
from perceiver_runtime.tasks.token_classification.command import marked

MASKED = (
    "a small boat that is moved[MASK*3] oars",
    "the person who is in charge of[MASK*4] ship",
    "a machine[MASK*5] lifts heavy loads",
    "he opened the door[MASK*4] walked into the room",
    "a tool used[MASK*4] cutting wood",
)
DEFINITIONS = (
    "a small brown bird that nests in barns and sings at dawn",
    "a battery-powered device that drills holes in walls",
    "a tall tree of mountain forests with edible nuts",
    "a woman who repairs and tunes pianos",
    "the warm contentment of an evening among friends",
    "a soup of lentils, onions and cumin",
    "the year in which the treaty was signed",
    "inflammation of the joints of the hand",
)
WITH_FIELDS = (
    "Hi Lena, the arm is booked for 14 May 2027, 9:30 am to 11:00. Reach me at lena.vogt@arm-lab.org or +49 30 5550123.",
    "Lower the gripper by 12.5 mm, wait for 3 seconds and keep it below 40 °C.",
    "2027-05-14T09:31:07Z WARN battery 11.2 V < 11.5 V, see https://docs.arm-lab.org/battery#low",
    "Das Ersatzteil kostet 1.249,00 € und kommt am Dienstag, 18. Mai 🚚",
)


def show_masked(bundle: Path, folder: Path) -> list[str]:
    """Each sentence with the three most probable words."""
    with pr.load(bundle, device="cpu") as mlm:
        found = mlm(list(MASKED), top_k=3, beams=10)
    lines = []
    for sentence, spans in zip(MASKED, found):
        words = ", ".join(f"{candidate.text!r} {candidate.probability:.2f}" for candidate in spans[0].candidates)
        lines += [sentence, f"    {words}"]
    return lines


def show_classes(bundle: Path, folder: Path) -> list[str]:
    """Each definition with its two most probable classes."""
    with pr.load(bundle, device="cpu") as classify:
        found = classify(list(DEFINITIONS), top_k=2)
    width = max(map(len, DEFINITIONS))
    return [
        f"{text:{width}}  {', '.join(f'{label.label} {label.probability:.2f}' for label in labels)}"
        for text, labels in zip(DEFINITIONS, found)
    ]


def show_fields(bundle: Path, folder: Path) -> list[str]:
    """Each text with its fields marked."""
    with pr.load(bundle, task="token-classification", device="cpu") as label:
        return [marked(text, spans) for text, spans in zip(WITH_FIELDS, label(list(WITH_FIELDS)))]
