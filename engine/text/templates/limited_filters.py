"""The filters and tests of templates, each behind the checks that keep it within a budget."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from operator import length_hint
from typing import TYPE_CHECKING

from jinja2.exceptions import SecurityError
from jinja2.utils import _PassArg

from engine.text.templates.growth import MAX_SLOW_CHARS, check_growth
from engine.text.templates.render_budget import CHARS_PER_MADE_ITEM

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.text.templates.render_budget import RenderBudget

    Function = Callable[..., object]

# These look at a value, or at the items of a list, and not at what is inside. `tojson` is here
# because it weighs by itself: it knows its indent.
_SHALLOW = frozenset(
    {"attr", "batch", "count", "d", "default", "first", "items", "last", "length", "list", "map"}
    | {"random", "reject", "rejectattr", "reverse", "select", "selectattr", "slice", "tojson"}
)
# These hand their arguments on, to use or to leave alone.
_HAND_ON = frozenset({"attr", "d", "default", "tojson"})
# These need all items at once to say what they cost.
_WHOLE = frozenset({"groupby", "join", "max", "min", "sort", "sum", "unique"})
_LAZY = frozenset(
    {"batch", "items", "map", "reject", "rejectattr", "reverse", "select", "selectattr", "slice"}
    | {"unique"}
)
_SORTING = frozenset({"dictsort", "groupby", "max", "min", "sort", "unique"})
_MAX_SORTED = 100_000
# These take an attribute, which may be a path ("a.b.c") that is walked for each item.
_WALKING = frozenset({"map", "rejectattr", "selectattr"}) | _WHOLE
_MAX_STEPS = 5_000_000
_DEEP_TESTS = frozenset(
    {"==", "eq", "equalto", "!=", "ne", ">", "gt", "greaterthan", ">=", "ge", "<", "lt"}
    | {"lessthan", "<=", "le", "in", "lower", "upper"}
)


def limit_filter(name: str, function: Function, budget: Callable[[], RenderBudget]) -> Function:
    """`function`, in a form that raises SecurityError before or after it does too much.

    A filter that makes its items one by one makes all of them at once: in a long chain of such
    filters nothing would look at the clock, and to free it would overflow the stack.
    """
    num_leading = 0 if _PassArg.from_obj(function) is None else 1
    num_least = num_leading + 1
    is_eager = name not in _LAZY

    @functools.wraps(function)  # also copies jinja2's mark "wants the context"
    def limited(*args: object, **kwargs: object) -> object:
        left = budget()
        if is_eager and not kwargs and len(args) == num_least:
            text = args[-1]
            if isinstance(text, str) and len(text) <= MAX_SLOW_CHARS:  # what most calls are
                left.tick(1 + len(text) // 1024)
                result = function(*args)
                left.charge_value(result)
                return result
        left.tick()
        subject, *rest = args[num_leading:]
        if name in _WHOLE and isinstance(subject, Iterator):
            subject = list(subject)
        _check(left, name, subject, rest, kwargs)
        result = function(*args[:num_leading], subject, *rest, **kwargs)
        if not is_eager and isinstance(result, Iterator):
            return iter(left.collect(result))
        left.charge_value(result)
        return result

    return limited


def limit_test(name: str, function: Function, budget: Callable[[], RenderBudget]) -> Function:
    """`function`, if it follows references in its arguments, behind a check of these."""
    if name not in _DEEP_TESTS:
        return function

    @functools.wraps(function)
    def limited(*args: object, **kwargs: object) -> object:
        for value in (*args, *kwargs.values()):
            budget().bound(value)
        return function(*args, **kwargs)

    return limited


def _check(
    budget: RenderBudget, name: str, subject: object, rest: list[object], kwargs: dict[str, object]
) -> None:
    values = (*rest, *kwargs.values()) if kwargs else rest
    if name not in _SHALLOW:
        budget.bound(subject)
    elif isinstance(subject, range):
        budget.charge(CHARS_PER_MADE_ITEM * len(subject))  # its numbers are made now
    if name not in _HAND_ON:
        for value in values:
            budget.bound(value)
    if name == "join":
        check_growth(budget, name, kwargs.get("d", rest[0] if rest else ""), (subject,))
    else:
        check_growth(budget, name, subject, values)
    if name in _SORTING:
        num_items = length_hint(subject)
        if num_items > _MAX_SORTED:
            raise SecurityError(f"a chat template sorts {num_items} values")
    if name in _WALKING:
        paths = (value for value in values if isinstance(value, str))
        num_steps = max((path.count(".") + path.count(",") for path in paths), default=0)
        if num_steps * length_hint(subject) > _MAX_STEPS:
            raise SecurityError("a chat template follows a long path for each of many items")
