"""The mutants of a module: copies of its source with one small, deliberate fault each.

Most operators are mutmut's. Its trampolines, which switch between mutants at each call, cannot wrap
decorated functions or the static methods of `torch.autograd.Function`, so its operators are applied
to the source here.
"""

import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import libcst as cst
from libcst.metadata import ByteSpanPositionProvider, MetadataWrapper
from mutmut.mutation import mutators

Operator = Callable[[Any], Iterable[cst.CSTNode]]
LEFT_OUT = (cst.Annotation, cst.Decorator, cst.Import, cst.ImportFrom, cst.Assert)
KEYWORDS_LEFT_OUT = {"strict", "device", "bound", "covariant"}
"""zip's `strict=True` is an assertion, only a GPU tells one device from another, and only a type
checker reads a TypeVar's bound."""
ZERO, TRUE, FALSE = cst.Integer("0"), cst.Name("True"), cst.Name("False")
OPPOSITES = {"isfinite": "isnan", "min": "max", "max": "min", "any": "all", "all": "any"}
OF_KEYS = {"random_bits", "with_key", "permuted", "torch_seed"}
"""Functions whose arguments are keys of random numbers, each of which must count."""
ARITHMETIC = (
    cst.Add, cst.Subtract, cst.Multiply, cst.Divide, cst.FloorDivide, cst.Modulo, cst.Power
)  # fmt: skip


class Mutant(NamedTuple):
    """A module's source with one fault."""

    name: str
    """Its function and the changed lines, before and after; no line numbers, so that it stays the
    same when other code moves. The second of equal lines ends with ` (2)`."""
    source: str


def drop_operand(node: cst.BinaryOperation) -> Iterator[cst.CSTNode]:
    """`a * b` → `a`."""
    if isinstance(node.operator, ARITHMETIC):
        yield node.left


def drop_condition(node: cst.BooleanOperation) -> Iterator[cst.CSTNode]:
    """`a and b` → `a` and `b`."""
    yield from (node.left, node.right)


def decide(node: cst.If | cst.While) -> Iterator[cst.CSTNode]:
    """`if a` → `if True` and `if False`; of `while a` only the second, which ends."""
    yield from (
        node.with_changes(test=test)
        for test in (TRUE, FALSE)
        if test is FALSE or isinstance(node, cst.If)
    )


def zero_key(node: cst.Call | cst.Tuple) -> Iterator[cst.CSTNode]:
    """`random_bits(a, b)` → `random_bits(0, b)` and so on, and `a, b` → `0, b`."""
    if isinstance(node, cst.Tuple):
        parts: Any = node.elements
    else:
        parts = node.args if getattr(node.func, "value", None) in OF_KEYS else []
    name = "elements" if isinstance(node, cst.Tuple) else "args"
    for place, part in enumerate(parts):
        plain = isinstance(part.value, cst.Name | cst.Attribute | cst.BinaryOperation)
        if plain and not isinstance(part, cst.StarredElement) and not getattr(part, "star", ""):
            changed = part.with_changes(value=ZERO)
            yield node.with_changes(**{name: [*parts[:place], changed, *parts[place + 1 :]]})


def drop_argument(node: cst.Call) -> Iterator[cst.CSTNode]:
    """`f(a, key=b)` → `f(a)`; without `a`, most calls fail at once."""
    for place, argument in enumerate(node.args):
        if argument.keyword is not None and not _is_left_out(argument):
            yield node.with_changes(args=[*node.args[:place], *node.args[place + 1 :]])


def opposite(node: cst.Name) -> Iterator[cst.CSTNode]:
    """`isfinite` → `isnan`, `min` → `max` and the like."""
    if node.value in OPPOSITES:
        yield node.with_changes(value=OPPOSITES[node.value])


def remove_statement(node: cst.SimpleStatementLine) -> Iterator[cst.CSTNode]:
    """A call, a raise, a deletion or an augmented assignment → `pass`."""
    (statement,) = node.body if len(node.body) == 1 else (None,)
    called = isinstance(statement, cst.Expr) and isinstance(statement.value, cst.Call)
    abstract = isinstance(statement, cst.Raise) and "NotImplementedError" in str(statement.exc)
    if called or (isinstance(statement, cst.Raise | cst.Del | cst.AugAssign) and not abstract):
        yield node.with_changes(body=[cst.Pass()])


OPERATORS: list[tuple[Any, Operator]] = [
    (cst.BaseNumber, mutators.operator_number),
    (cst.Name, mutators.operator_name),
    (cst.AugAssign, mutators.operator_augmented_assignment),
    (cst.UnaryOperation, mutators.operator_remove_unary_ops),
    (cst.Call, mutators.operator_symmetric_string_methods_swap),
    (cst.CSTNode, mutators.operator_keywords),
    (cst.CSTNode, mutators.operator_swap_op),
    (cst.IfExp, mutators.operator_if_exp),
    (cst.BinaryOperation, drop_operand),
    (cst.BooleanOperation, drop_condition),
    (cst.If | cst.While, decide),
    (cst.Call | cst.Tuple, zero_key),
    (cst.Call, drop_argument),
    (cst.Name, opposite),
    (cst.SimpleStatementLine, remove_statement),
]
"""By the kind of node. Left out of mutmut's: changes of strings, most of which are messages or
names that fail at once; `a = None`, `f(None)` and `lambda: None`, which fail at once wherever the
value is used, and for which a removed statement and a decided condition stand in."""


def _is_left_out(argument: cst.Arg) -> bool:
    return argument.keyword is not None and argument.keyword.value in KEYWORDS_LEFT_OUT


class _Visitor(cst.CSTVisitor):
    def __init__(self) -> None:
        super().__init__()
        self.scope: list[str] = []
        self.found: list[tuple[str, cst.CSTNode, cst.CSTNode]] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, cst.FunctionDef | cst.ClassDef):
            self.scope.append(node.name.value)
        if isinstance(node, LEFT_OUT) or (isinstance(node, cst.Arg) and _is_left_out(node)):
            return False
        for kind, operator in OPERATORS:
            if isinstance(node, kind):
                for new in operator(node):
                    # Of a block only the condition is replaced, so that its lines stay.
                    pair = (
                        (node.test, new.test)
                        if isinstance(new, cst.If | cst.While)
                        else (node, new)
                    )
                    self.found.append((".".join(self.scope), *pair))
        return not isinstance(node, cst.Raise | cst.FormattedString)  # messages

    def on_leave(self, original_node: cst.CSTNode) -> None:
        if isinstance(original_node, cst.FunctionDef | cst.ClassDef):
            self.scope.pop()


def mutants(source: str) -> list[Mutant]:
    """Returns every mutant of a module's source that is other code than the source."""
    wrapped, visitor = MetadataWrapper(cst.parse_module(source)), _Visitor()
    spans = wrapped.resolve(ByteSpanPositionProvider)
    wrapped.module.visit(visitor)
    original, made = source.encode(), dict[str, str]()
    for scope, old, new in visitor.found:
        span = spans[old]
        text = wrapped.module.code_for_node(new).strip()
        if isinstance(new, cst.BaseExpression) and not isinstance(new, cst.Name | cst.Integer):
            text = f"({text})"
        end = span.start + span.length
        mutated = (original[: span.start] + text.encode() + original[end:]).decode()
        try:
            compile(mutated, "mutant", "exec")
        except SyntaxError:
            continue
        made.setdefault(mutated, f"{scope or 'module'}: {_change(source, mutated)}")
    seen: Counter[str] = Counter()
    found = []
    for mutated, name in made.items():
        seen[name] += 1
        found.append(Mutant(name if seen[name] == 1 else f"{name} ({seen[name]})", mutated))
    return found


def _change(source: str, mutated: str) -> str:
    """Returns the changed lines, before and after."""
    lines = difflib.ndiff(source.splitlines(), mutated.splitlines())
    parts: dict[str, list[str]] = {"- ": [], "+ ": []}
    for line in lines:
        if line[:2] in parts:
            parts[line[:2]].append(re.sub(r"\s+", " ", line[2:].strip()))
    return " → ".join(" ".join(part) for part in parts.values())
