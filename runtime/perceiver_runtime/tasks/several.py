"""Several inputs on one command line: each gets its answer, and one that cannot be used does not take the others' away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from perceiver_runtime.common.errors import InputError


class Item(NamedTuple):
    """An input: what to call it in errors, and its value or why there is none."""

    name: str
    value: Any


class Answer(NamedTuple):
    """Of an item, or why there is none."""

    item: Item
    value: Any


def attempt(read: Callable[[], Any]) -> Any:
    """What `read` gives, or the `InputError` that it raises."""
    try:
        return read()
    except InputError as error:
        return error


def answered(items: Sequence[Item], answer: Callable[[list[Any]], Sequence[Any]]) -> list[Answer]:
    """The answer to each item: to all at once, or where that fails one after the other."""
    good = [item for item in items if not isinstance(item.value, InputError)]
    found = attempt(lambda: answer([item.value for item in good])) if good else []
    if isinstance(found, InputError):
        found = [found] if len(good) == 1 else [attempt(partial(_alone, answer, item)) for item in good]
    left = iter(found)
    return [Answer(item, item.value if isinstance(item.value, InputError) else next(left)) for item in items]


def _alone(answer: Callable[[list[Any]], Sequence[Any]], item: Item) -> Any:
    return answer([item.value])[0]


def results(answers: Sequence[Answer], describe: Callable[[Item, Any], dict[str, object]]) -> dict[str, object]:
    """`results` of what was answered and, where there are any, `errors` of the rest.

    Raises `InputError` where nothing was answered for one and the same reason.
    """
    failed = [answer for answer in answers if isinstance(answer.value, InputError)]
    if len(failed) == len(answers) and len({str(answer.value) for answer in failed}) == 1:
        raise failed[0].value
    found = [describe(answer.item, answer.value) for answer in answers if not isinstance(answer.value, InputError)]
    errors = [{"input": item.name, "error": _named(item.name, error)} for item, error in failed]
    return {"results": found} | ({"errors": errors} if errors else {})


def _named(name: str, error: InputError) -> str:
    return str(error) if name in str(error) else f"{name}: {error}"
