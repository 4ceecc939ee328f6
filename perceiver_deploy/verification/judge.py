"""Whether graphs compute what torch computes: each output of each case against its tolerance and its negative control.

The control is the graphs' own answer given to the wrong pixels, bytes or inputs, which must be refused: an answer that hardly
varies would pass whatever the graphs compute. A classifier that is sure of itself may have the same logits on a whole case.
Such an output is judged by the spread of all cases together, and has its control there. Where even that is constant, the
parity report says so, as long as another output of the same graphs (the latents) varies.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from perceiver_deploy.tasks.recipe import Array, Recipe
from perceiver_deploy.verification.comparison import Comparison, Tolerance
from perceiver_deploy.verification.rounding import DRAWS, UNIT
from perceiver_runtime import VerificationError

MULTIPLE = 4.0  # of the measured noise, allowed on top of the tolerance: graphs add in another order in every layer
CAP = 4.0  # that allowance is at most so many times the tolerance, unless asked for


class Noise:
    """What rounding moves torch's own answer by on a case, measured when first asked for."""

    def __init__(self, measure: Callable[[], dict[str, float]]) -> None:
        self._measure = measure

    @cached_property
    def by_output(self) -> dict[str, float]:
        """The largest change of each output."""
        return self._measure()


@dataclass(frozen=True)
class Pair:
    """An output of a case, both (what differs, channels)."""

    case: str
    output: str
    reference: Array
    found: Array
    inputs: int  # that the rows are of, each as many
    noise: Noise
    own: bool = False  # of the user's own inputs


class Judge:
    """Collects the parity report's rows; raises `VerificationError` as soon as one fails."""

    def __init__(self, recipe: Recipe, tolerance: Tolerance) -> None:
        self.recipe, self.tolerance, self.unit = recipe, tolerance, recipe.unit
        self.rows: list[dict[str, Any]] = []
        self.constant: dict[str, str] = {}  # outputs that do not vary over all cases, and how that was taken
        self._noise: dict[str, float] = {}
        self._pairs: dict[str, list[Pair]] = {}
        self._postponed: list[Pair] = []

    def row(self, pair: Pair) -> dict[str, Any] | None:
        """Judge an output of a case; None if it is the same everywhere there, so that the other cases have to be known."""
        if self.recipe.options.precision == "fp32" and not self._pairs:
            self._measure(pair)  # on the first case always, for the parity report
        self._pairs.setdefault(pair.output, []).append(pair)
        comparison = Comparison.of(pair.reference, pair.found, self.tolerance)
        same_shape = pair.reference.shape == pair.found.shape
        if same_shape and comparison.not_finite == 0 and _farthest(pair, pair.reference) <= comparison.allowed:
            self._postponed.append(pair)
            return None
        return self._judged(pair, comparison)

    def finish(self) -> None:
        """Judge what is the same everywhere on its own case by all cases together."""
        for name in dict.fromkeys(pair.output for pair in self._postponed):
            pairs = self._pairs[name]
            together = replace(
                pairs[0],
                case="all cases together",
                reference=np.concatenate([pair.reference for pair in pairs]),
                found=np.concatenate([pair.found for pair in pairs]),
                inputs=sum(pair.inputs for pair in pairs),
            )
            whole = Comparison.of(together.reference, together.found, self.tolerance)
            for pair in self._postponed:
                if pair.output == name:
                    self._judged(pair, Comparison.of(pair.reference, pair.found, self.tolerance, spread=whole.spread))
            if self._control(together) > whole.allowed:
                self._judged(together, whole)
            elif any(row["varies"] for row in self.rows if row["output"] != name):
                self.constant[name] = (
                    f"the same on all {len(pairs)} cases within {whole.allowed:.3g}{self.unit}, which proves little: what "
                    "varies was compared too; --samples FOLDER takes inputs that the checkpoint answers differently"
                )
            else:
                raise VerificationError(
                    f"on {pairs[0].case} {name} is the same everywhere within {whole.allowed:.3g}{self.unit}, so this "
                    "comparison proves nothing: is the checkpoint trained? If it is, add --samples FOLDER with inputs that it "
                    "answers differently"
                )

    def rounding(self) -> dict[str, Any]:
        """What was measured of rounding, for the parity report; empty in lower precision."""
        if not self._noise:
            return {}
        cap = "no cap, as asked for" if self.recipe.options.allow_rounding else f"at most {CAP:g} x the tolerance"
        return {
            "method": f"each layer's float32 results off by {UNIT:.3g} of themselves, {DRAWS} draws",
            "allowed": f"where the tolerance is passed, {MULTIPLE:g} x the noise on that case more, {cap}",
            "noise": self._noise,
        }

    def _measure(self, pair: Pair) -> float:
        for name, noise in pair.noise.by_output.items():
            self._noise[name] = max(noise, self._noise.get(name, 0.0))
        return pair.noise.by_output[pair.output]

    def _control(self, pair: Pair) -> float:
        """How far the graphs' answer to other pixels or inputs is off: in reverse order, or the next input's."""
        if pair.reference.shape != pair.found.shape or pair.found.size == 0:
            return float("inf")
        return _farthest(pair, pair.found)

    def _judged(self, pair: Pair, comparison: Comparison) -> dict[str, Any]:
        control, within, extra = self._control(pair), comparison.allowed, 0.0
        if not comparison.passes and comparison.not_finite == 0 and np.isfinite(comparison.max_error):
            comparison, extra = self._with_rounding(pair, comparison)
        if not comparison.passes:
            raise VerificationError(self._difference(pair, comparison))
        if extra and within < control <= comparison.allowed:
            raise VerificationError(
                f"this checkpoint amplifies rounding so much that float32 does not determine its answer: on {pair.case} "
                f"rounding may move {pair.output} by {extra:.3g}{self.unit}, another input does by {control:.3g}{self.unit}; "
                "add --samples FOLDER with inputs that it answers differently, or train it further"
            )
        row = {"case": pair.case, "output": pair.output, **dataclasses.asdict(comparison), "negative_control": control}
        row |= {"varies": control > comparison.allowed, "allowed_for_rounding": extra, "own": pair.own}
        self.rows.append(row)
        return row

    def _difference(self, pair: Pair, comparison: Comparison) -> str:
        """What to say of graphs that are off by more than rounding explains."""
        text = (
            f"the graphs differ from torch on {pair.case}: {pair.output} is off by {comparison.max_error:.3g}{self.unit} "
            f"at most, {comparison.allowed:.3g}{self.unit} allowed, {comparison.not_finite} values not finite"
        )
        if self.recipe.options.precision != "fp32":
            own = self.recipe.own_inputs
            return (
                f"{text}; export this checkpoint in fp32{'' if own else ', or verify it on your own inputs: --samples FOLDER'}"
            )
        if pair.output in self._noise:
            noise = self._noise[pair.output]
            text += f"; one unit in the last place in each layer moves torch's own answer by {noise:.3g}{self.unit} only"
        return text

    def _with_rounding(self, pair: Pair, comparison: Comparison) -> tuple[Comparison, float]:
        """The comparison with an allowance for rounding, and that. Raises if only the cap is in the way."""
        if self.recipe.options.precision != "fp32":
            return comparison, 0.0
        noise = self._measure(pair)
        extra, cap = MULTIPLE * noise, CAP * comparison.allowed
        explained = replace(comparison, allowed=comparison.allowed + extra)
        if extra > cap and not self.recipe.options.allow_rounding:
            capped = replace(comparison, allowed=comparison.allowed + cap)
            if explained.passes and not capped.passes:
                raise VerificationError(
                    f"this checkpoint amplifies rounding: on {pair.case} {pair.output} is off by {comparison.max_error:.3g}"
                    f"{self.unit} at most, {capped.allowed:.3g}{self.unit} allowed, and one unit in the last place in each "
                    f"layer moves torch's own answer by {noise:.3g}{self.unit}, so the graphs need not be at fault: add "
                    "--allow-rounding to export it all the same"
                )
            return capped, cap
        return explained, extra


def _farthest(pair: Pair, answer: Array) -> float:
    """How far `answer`, in reverse order or moved on by an input, is off the reference."""
    wrong = answer[::-1], np.roll(answer, max(1, len(answer) // max(1, pair.inputs)), axis=0)
    return max(float(np.abs(pair.reference - each).max()) for each in wrong)


def share(row: dict[str, Any]) -> float:
    """How much of what is allowed an error takes."""
    return float(row["max_error"] / row["allowed"]) if row["allowed"] else 0.0
