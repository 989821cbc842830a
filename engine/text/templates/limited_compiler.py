"""Compiles templates so that whatever may take long goes through the environment.

jinja2 itself compiles loops, output, `~`, comparisons and subscripts into bare Python.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jinja2 import nodes
from jinja2.compiler import CodeGenerator, operators

if TYPE_CHECKING:
    from jinja2.compiler import Frame

_ROUNDS = "rounds"
# Nodes whose values are text, numbers or truth values, known without running them.
_PLAIN = (nodes.Compare, nodes.Concat, nodes.Const, nodes.TemplateData, nodes.Test, nodes.UnaryExpr)


class LimitedCodeGenerator(CodeGenerator):
    """For a `LimitedSandbox`, whose methods it names."""

    def write_commons(self) -> None:
        for name in ("bounded", "searched", "sliced", "to_text"):
            self.writeline(f"{name} = environment.{name}")
        super().write_commons()

    def visit_For(self, node: nodes.For, frame: Frame) -> None:
        """Each round is counted."""
        rounds = nodes.EnvironmentAttribute(_ROUNDS)
        node.iter = nodes.Call(rounds, [node.iter], [], None, None, lineno=node.lineno)
        super().visit_For(node, frame)

    def visit_Call(self, node: nodes.Call, frame: Frame, forward_caller: bool = False) -> None:
        if not isinstance(node.node, nodes.EnvironmentAttribute):
            super().visit_Call(node, frame, forward_caller=forward_caller)
            return
        self.write(f"environment.{node.node.name}(")  # no call of the template's
        self.visit(node.args[0], frame)
        self.write(")")

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.write("environment.join_values((")
        for operand in node.nodes:
            self.visit(operand, frame)
            self.write(", ")
        self.write("))")

    def visit_Compare(self, node: nodes.Compare, frame: Frame) -> None:
        """Comparing follows all references, unless one side is a plain value."""
        operands = [node.expr, *(operand.expr for operand in node.ops)]
        is_quick = len(operands) == 2 and any(map(_is_plain, operands))
        self.write("(")
        self._visit_guarded("" if is_quick else "bounded", node.expr, frame)
        for operand in node.ops:
            self.write(f" {operators[operand.op]} ")
            guard = "bounded"
            if is_quick:
                guard = "searched" if operand.op.endswith("in") else ""
            self._visit_guarded(guard, operand.expr, frame)
        self.write(")")

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:
        """A key is hashed, which follows all references."""
        if isinstance(node.arg, nodes.Slice):
            self.write("sliced(")
            super().visit_Getitem(node, frame)
            self.write(")")
            return
        self.write("environment.getitem(")
        self.visit(node.node, frame)
        self.write(", ")
        self._visit_guarded("bounded", node.arg, frame)
        self.write(")")

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:
        self.write("{")
        for item in node.items:
            self._visit_guarded("bounded", item.key, frame)
            self.write(": ")
            self.visit(item.value, frame)
            self.write(", ")
        self.write("}")

    def _visit_guarded(self, guard: str, node: nodes.Expr, frame: Frame) -> None:
        if not guard or _is_plain(node):
            self.visit(node, frame)
            return
        self.write(f"{guard}(")
        self.visit(node, frame)
        self.write(")")

    def _output_child_to_const(
        self, node: nodes.Expr, frame: Frame, finalize: CodeGenerator._FinalizeInfo
    ) -> str:
        """jinja2 would run the filters of a constant, and write what they make into the code."""
        if not isinstance(node, nodes.Const | nodes.TemplateData):
            raise nodes.Impossible
        return super()._output_child_to_const(node, frame, finalize)

    def _output_child_pre(
        self, node: nodes.Expr, frame: Frame, finalize: CodeGenerator._FinalizeInfo
    ) -> None:
        """jinja2 writes `str(`; it closes the bracket."""
        self.write("to_text(")


def _is_plain(node: nodes.Expr) -> bool:
    if isinstance(node, nodes.List | nodes.Tuple):
        return all(isinstance(item, nodes.Const) for item in node.items)
    return isinstance(node, _PLAIN)
