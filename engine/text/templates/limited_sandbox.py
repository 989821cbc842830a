"""The jinja2 sandbox for chat templates: no access to Python, and no bombs.

Every rendering has a `RenderBudget` of its own:

- time: looked at by loops, calls, filters, and before what takes long by its size. The rounds of
  a loop, recursing macros, chains of filters all end soon after `max_render_s`.
- size: of the rendered text, of every block, macro, concatenation, slice, list, and of what a
  method or filter makes, in characters or items; `growth` judges the dangerous ones beforehand.
- the sum of these sizes, which bounds the memory of many large values at once.
- what is printed, compared, hashed or turned into JSON, all its references followed
  (`x = [x, x]` forty times), and its depth.

What is left is the time of one built-in operation on values within these sizes (sorting, JSON,
one search in a long text): up to about a second more. The interpreter cannot be interrupted in
one, so a hard limit still needs a process that can be killed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import BuiltinMethodType
from typing import TYPE_CHECKING, Any

import jinja2.ext
import jinja2.meta
from jinja2 import nodes
from jinja2.runtime import LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment

from engine.text.templates.growth import as_count, check_format, check_growth, check_power
from engine.text.templates.limited_compiler import LimitedCodeGenerator
from engine.text.templates.limited_filters import limit_filter, limit_test
from engine.text.templates.render_budget import CHARS_PER_MADE_ITEM, SCALARS, RenderBudget, size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from jinja2.parser import Parser
    from jinja2.runtime import Context

_LONG = 4096  # going through a text of so many characters once is next to nothing


class GenerationTag(jinja2.ext.Extension):
    """Tolerates `{% generation %}`: it marks the assistant's text for training, and is transparent."""

    tags = {"generation"}  # noqa: RUF012 (jinja2 declares it as a plain attribute)

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        call = self.call_method("_body")
        return nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _body(self, caller: Callable[[], str]) -> str:
        return caller()


class LimitedSandbox(ImmutableSandboxedEnvironment):
    """An immutable sandbox; threads may share it. Templates must be rendered by its `render`.

    A template that passes a limit raises jinja2's SecurityError out of it.
    """

    code_generator_class = LimitedCodeGenerator
    intercepted_binops = frozenset({"*", "**", "+", "%"})

    def __init__(
        self,
        max_chars: int,
        max_render_s: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_chars = max_chars
        self._max_render_s = max_render_s
        self._monotonic = monotonic
        # Not the environment's own: several threads may render at once.
        self._budget: ContextVar[RenderBudget] = ContextVar("render_budget")
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,  # nothing of a template runs, or grows, before it is rendered
            extensions=[GenerationTag, jinja2.ext.loopcontrols],
        )
        del self.globals["lipsum"]  # text of any length out of nothing
        for name, function in list(self.filters.items()):
            self.set_filter(name, function)
        for name, test in list(self.tests.items()):
            self.tests[name] = limit_test(name, test, self._budget.get)  # type: ignore[arg-type]

    def set_filter(self, name: str, function: Callable[..., object]) -> None:
        """Add or replace a filter."""
        self.filters[name] = limit_filter(name, function, self._budget.get)

    def render(self, template: jinja2.Template, context: Mapping[str, object]) -> str:
        """The text of a template of this environment. Raises whatever the template does."""
        with self._limits():
            return template.render(context)

    def variables(self, source: str) -> frozenset[str]:
        """The names that a template reads from its context, but for the environment's own."""
        with self._limits():  # jinja2 runs filters of constants to find them
            names = jinja2.meta.find_undeclared_variables(self.parse(source))
        return frozenset(names - self.globals.keys())

    @contextmanager
    def _limits(self) -> Iterator[None]:
        budget = RenderBudget(self._max_chars, self._max_render_s, self._monotonic)
        token = self._budget.set(budget)
        try:
            yield
        finally:
            self._budget.reset(token)

    def weigh(self, value: object, indent: int) -> None:
        """Refuse what would be too large as text, indented by so much each level."""
        self._budget.get().weigh(value, indent)

    # What compiled templates call, in place of bare Python.

    def rounds(self, iterable: Any) -> Iterator[object]:
        """What a loop runs over."""
        return self._budget.get().rounds(iterable)

    def bounded(self, value: object) -> object:
        """`value`, if all that can be reached from it is within the limits."""
        kind = type(value)
        if kind not in SCALARS or (kind is str and len(value) > _LONG):  # type: ignore[arg-type]
            self._budget.get().bound(value)
        return value

    def searched(self, value: object) -> object:
        """`value`, in which something small is looked for."""
        if type(value) is not str or len(value) > _LONG:
            self._budget.get().search(value)
        return value

    def sliced(self, value: object) -> object:
        """`value`, which was just cut out of another."""
        self._budget.get().charge_value(value)
        return value

    def to_text(self, value: object) -> str:
        """`value` as it is printed."""
        if type(value) is str:
            return value
        return str(self.bounded(value))

    def join_values(self, values: Iterable[object]) -> str:
        """What `~` does."""
        return self.concat(map(self.to_text, values))

    def concat(self, pieces: Iterable[str]) -> str:
        """Join what a template, macro or block wrote; stops reading at the limit."""
        max_chars = self._max_chars
        num_chars = 0
        kept: list[str] = []
        for piece in pieces:
            num_chars += len(piece)
            if num_chars > max_chars:
                break
            kept.append(piece)
        self._budget.get().charge(num_chars)
        return "".join(kept)

    def call_binop(self, context: Context, operator: str, left: object, right: object) -> object:
        budget = self._budget.get()
        if operator == "+":
            if type(left) is str and type(right) is str:
                budget.charge(len(left) + len(right))
            else:
                budget.charge(size_of(left) + size_of(right))
            return left + right  # type: ignore[operator]
        if operator == "*":
            budget.check(size_of(left) * as_count(right))
            budget.check(size_of(right) * as_count(left))
        elif operator == "**":
            check_power(left, right)
        elif isinstance(left, str | bytes):
            check_format(budget, str(left), right if isinstance(right, tuple) else (right,))
        result: object = super().call_binop(context, operator, left, right)
        budget.charge_value(result)
        return result

    def call(
        __self,
        __context: Context,
        __obj: Callable[..., object],
        *args: object,
        **kwargs: object,
    ) -> object:
        budget = __self._budget.get()
        budget.tick(1 + (len(args) + len(kwargs)) // 16)
        if type(__obj) is Macro:  # what it writes is counted when it is joined
            return super().call(__context, __obj, *args, **kwargs)
        # jinja2 adds these for callables that ask for the context; none here does.
        kwargs.pop("_loop_vars", None)
        kwargs.pop("_block_vars", None)
        values = (*args, *kwargs.values()) if kwargs else args
        for value in values:
            if type(value) not in SCALARS:
                budget.weigh(value)
        if type(__obj) is BuiltinMethodType:
            result = _call_method(budget, __obj, args, kwargs)
        elif type(__obj) is LoopContext:  # a recursive loop goes on with other items
            result = __obj(*map(__self.rounds, values))
        else:
            # jinja2 hands out `format` wrapped in a function of its own.
            method = getattr(__obj, "__wrapped__", __obj)
            owner = getattr(method, "__self__", None)
            if owner is not None:
                name = getattr(method, "__name__", "")
                check_growth(budget, name, owner, values)
            result = super().call(__context, __obj, *args, **kwargs)
        budget.charge_value(result)
        return result


def _call_method(
    budget: RenderBudget,
    method: BuiltinMethodType,
    args: tuple[object, ...],
    kwargs: dict[str, object],
) -> object:
    """Without jinja2's own `call`: methods of built-in types carry none of its marks."""
    name, owner = method.__name__, method.__self__
    if name == "join" and args and isinstance(args[0], Iterator):
        args = (list(args[0]), *args[1:])
    budget.search(owner)
    check_growth(budget, name, owner, (*args, *kwargs.values()) if kwargs else args)
    result = method(*args, **kwargs)
    if type(result) is list:
        budget.charge(CHARS_PER_MADE_ITEM * len(result))  # a text in parts
    return result
