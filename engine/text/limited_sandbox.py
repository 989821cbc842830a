"""The jinja2 sandbox for chat templates: no access to Python, and no memory bombs.

Capped in characters or items: the rendered text, every block, macro and `~` concatenation, the
results of `*`, `+` and `%`, powers, the widths and counts given to filters and string methods,
and `range` (100 000, jinja2's own limit).

Not capped: time (two nested ranges are 10^10 rounds), and values that refer to themselves many
times (`x = [x, x]` forty times, then printed). A wall-clock and memory limit is the caller's.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

import jinja2.ext
from jinja2 import nodes
from jinja2.compiler import CodeGenerator
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from jinja2.compiler import Frame
    from jinja2.parser import Parser
    from jinja2.runtime import Context

_MAX_POWER_BITS = 4096
_LONG_NUMBER = re.compile(r"\d{7,}")
_GUARDED_FILTERS = ("batch", "center", "format", "indent", "join", "replace", "slice", "wordwrap")
_STRING_TYPES = (str, bytes)


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


class _ConcatenationGenerator(CodeGenerator):
    """Sends `a ~ b` through the environment, which counts; jinja2 itself would join unchecked."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.write("environment.join_values((")
        for operand in node.nodes:
            self.visit(operand, frame)
            self.write(", ")
        self.write("))")


class LimitedSandbox(ImmutableSandboxedEnvironment):
    """An immutable sandbox in which no single value grows past `max_chars`.

    A template that tries raises jinja2's SecurityError out of `render`.
    """

    code_generator_class = _ConcatenationGenerator
    intercepted_binops = frozenset({"*", "**", "+", "%"})

    def __init__(self, max_chars: int) -> None:
        self.max_chars = max_chars
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[GenerationTag, jinja2.ext.loopcontrols],
        )
        del self.globals["lipsum"]  # text of any length out of nothing
        for name in _GUARDED_FILTERS:
            self.filters[name] = self._guard_filter(name, self.filters[name])

    def concat(self, pieces: Iterable[str]) -> str:
        """Join what a template, macro or block wrote; stops reading at the limit."""
        num_chars = 0
        kept: list[str] = []
        for piece in pieces:
            num_chars += len(piece)
            self._check_size(num_chars)
            kept.append(piece)
        return "".join(kept)

    def join_values(self, values: Iterable[object]) -> str:
        """What `~` does."""
        return self.concat(map(str, values))

    def call_binop(self, context: Context, operator: str, left: object, right: object) -> object:
        if operator == "*":
            self._check_size(_num_items(left) * _as_count(right))
            self._check_size(_num_items(right) * _as_count(left))
        elif operator == "+":
            self._check_size(_num_items(left) + _num_items(right))
        elif operator == "**":
            _check_power(left, right)
        elif isinstance(left, _STRING_TYPES):
            self._check_format(str(left), right if isinstance(right, tuple) else (right,))
        return super().call_binop(context, operator, left, right)

    def call(
        __self,
        __context: Context,
        __obj: Callable[..., object],
        *args: object,
        **kwargs: object,
    ) -> object:
        # jinja2 hands out `format` wrapped in a function of its own.
        method = getattr(__obj, "__wrapped__", __obj)
        owner = getattr(method, "__self__", None)
        if isinstance(owner, _STRING_TYPES):
            values = (*args, *kwargs.values())
            __self._check_growth(getattr(method, "__name__", ""), owner, values)
        return super().call(__context, __obj, *args, **kwargs)

    def _guard_filter(self, name: str, function: Callable[..., object]) -> Callable[..., object]:
        @functools.wraps(function)  # also copies jinja2's mark "wants the evaluation context"
        def guarded(*args: object, **kwargs: object) -> object:
            has_context = bool(args) and hasattr(args[0], "autoescape")
            subject, *rest = args[1:] if has_context else args
            if name == "join":
                subject = list(subject)  # type: ignore[call-overload]
                self._check_growth("join", str(rest[0]) if rest else "", (subject,))
                args = (args[0], subject, *rest)
            else:
                self._check_growth(name, subject, (*rest, *kwargs.values()))
            return function(*args, **kwargs)

        return guarded

    def _check_growth(self, name: str, subject: object, values: tuple[object, ...]) -> None:
        """Refuse a call whose result could pass the limit, judged from sizes alone."""
        width = max(map(_as_count, values), default=0)
        self._check_size(width)
        if not isinstance(subject, _STRING_TYPES):
            return
        if name in ("format", "format_map"):
            self._check_format(str(subject), values)
        elif name == "replace" and len(values) >= 2:
            self._check_size(_num_items(values[1]) * (_count(subject, values[0]) + 1))
        elif name == "join" and values and isinstance(values[0], list | tuple):
            num_chars = sum(map(_num_items, values[0]))
            self._check_size(num_chars + len(subject) * len(values[0]))
        elif name in ("indent", "expandtabs", "wordwrap"):
            longest = max(width, max(map(_num_items, values), default=0), 8)
            num_places = _count(subject, "\t") + _count(subject, "\n") + 1
            self._check_size(longest * num_places)

    def _check_format(self, template: str, values: tuple[object, ...]) -> None:
        if _LONG_NUMBER.search(template):
            raise SecurityError("a chat template formats to a width of millions of characters")
        self._check_size(max(map(_as_count, values), default=0) if "*" in template else 0)
        if "{" in template:
            self._check_size(max(map(_as_count, values), default=0) if ":{" in template else 0)
        num_fields = template.count("{") + template.count("%")
        self._check_size(num_fields * max(map(_num_items, values), default=0))

    def _check_size(self, num_items: int) -> None:
        if num_items > self.max_chars:
            raise SecurityError(
                f"a chat template makes a value of more than {self.max_chars} characters or items"
            )


def _num_items(value: object) -> int:
    return len(value) if isinstance(value, str | bytes | list | tuple) else 0


def _as_count(value: object) -> int:
    return value if isinstance(value, int) else 0


def _count(subject: str | bytes, part: object) -> int:
    if isinstance(subject, str) and isinstance(part, str):
        return subject.count(part)
    return len(subject)


def _check_power(base: object, exponent: object) -> None:
    if isinstance(base, int) and isinstance(exponent, int):
        num_bits = base.bit_length() * max(exponent, 0)
        if num_bits > _MAX_POWER_BITS:
            raise SecurityError(f"a chat template computes a number of {num_bits} bits")
