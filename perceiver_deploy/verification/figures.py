"""The answers in a task's own terms, against the limits that lower precision has there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from perceiver_deploy.tasks.recipe import Case, Recipe, is_agreement
from perceiver_runtime import VerificationError

Figures = Mapping[str, float]


def worst(cases: Sequence[tuple[Case, Figures]]) -> dict[str, float]:
    """Each figure at its worst: on the user's own inputs where there are two or more, else on all cases."""
    decisive = [figures for case, figures in cases if case.own > 1] or [figures for _, figures in cases]
    return {
        name: (min if is_agreement(name) else max)(figures[name] for figures in decisive)
        for name in (decisive[0] if decisive else {})
    }


def used(recipe: Recipe, figures: Figures) -> dict[str, float]:
    """How much of what is allowed each limited figure takes: more than 1 is too much."""
    return {
        name: (1 - figures[name]) / (1 - limit) if is_agreement(name) else figures[name] / limit
        for name, limit in recipe.limits_in_force.items()
    }


def check(recipe: Recipe, figures: Figures) -> None:
    """Raise `VerificationError` for a figure beyond its limit."""
    own = "your inputs" if len(recipe.own_inputs) > 1 else "general inputs"
    ways_out = "" if len(recipe.own_inputs) > 1 else ", or verify it on your own inputs with --samples FOLDER"
    for name, limit in recipe.limits_in_force.items():
        value = figures[name]
        if not (value >= limit if is_agreement(name) else value <= limit):
            raise VerificationError(
                f"{recipe.options.precision} gives a {name} of {value:.3g} against torch in fp32 on {own}, the limit is "
                f"{limit:g}: export this checkpoint in fp32{ways_out}"
            )
