"""Expressions of derived columns: a small part of Python's, checked when a view is loaded, computed with numpy.

Every operation takes whole columns and has one meaning for one row and for a million. Null goes through calculations
and makes comparisons false. What cannot be computed is null (a logarithm of -1 or 0, a number divided by 0), and so is
what is too large for a number.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
import numpy as np

from kaname.errors import InvalidInput
from kaname.features.views.columns import finite
from kaname.features.views.functions import FUNCTIONS, Function
from kaname.features.views.types import Column, Columns, Kind

Compute: TypeAlias = Callable[[Columns], Column]
SECOND = np.timedelta64(1, "s")
LONGEST = 1000

_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: lambda one, other: finite(np.true_divide(one, other)),
    ast.FloorDiv: lambda one, other: finite(np.floor_divide(one, other)),
    ast.Mod: np.mod,
    ast.Pow: lambda one, other: finite(np.power(one, other)),
}
_COMPARED: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
}
_EQUALITIES = (ast.Eq, ast.NotEq)


class Expression(msgspec.Struct, frozen=True):
    """A compiled expression."""

    kind: Kind
    names: tuple[str, ...]
    """The columns that it needs."""
    compute: Compute


class _Term(msgspec.Struct, frozen=True):
    kind: Kind
    compute: Compute


def compile_expression(text: str, kinds: Mapping[str, Kind]) -> Expression:
    """The expression in `text` over columns of these kinds. Raises InvalidInput without a place."""
    if len(text) > LONGEST:
        raise InvalidInput("too long an expression", found=f"{len(text)} letters", expected=f"at most {LONGEST}")
    try:
        tree = ast.parse(text.strip(), mode="eval")
        compiler = _Compiler(text.strip(), kinds)
        term = compiler.term(tree.body)
    except SyntaxError as error:
        raise InvalidInput(f"not an expression: {error.msg}", found=f"`{text.strip()}`") from None
    except (RecursionError, MemoryError, ValueError):
        raise InvalidInput("not an expression", found=f"`{text.strip()[:60]}`") from None
    if not compiler.names:
        raise InvalidInput("an expression of no column", found=f"`{text}`", expected=f"one of {', '.join(kinds)}")
    if term.kind in ("vector", "other"):
        raise InvalidInput("not a value that an expression can have", found=term.kind, expected="number, bool, text")
    return Expression(term.kind, tuple(compiler.names), _quiet(term.compute, finite if term.kind == "number" else None))


def _quiet(compute: Compute, check: Callable[[Column], Column] | None) -> Compute:
    """Without warnings of what cannot be computed: that is null."""

    def quiet(columns: Columns) -> Column:
        with np.errstate(all="ignore"):
            found = compute(columns)
            return found if check is None else check(found)

    return quiet


class _Compiler:
    """From nodes of the syntax to functions of columns."""

    def __init__(self, text: str, kinds: Mapping[str, Kind]) -> None:
        self._text = text
        self._kinds = kinds
        self.names: dict[str, None] = {}

    def term(self, node: ast.expr) -> _Term:
        match node:
            case ast.Name(id=name):
                return self._name(node, name)
            case ast.Constant(value=value):
                return self._constant(node, value)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                return self._arithmetic(self.term(left), op, self.term(right), node)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                number = self._number(operand)
                return _Term("number", lambda columns: np.negative(number(columns)))
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                truth = self._truth(operand)
                return _Term("bool", lambda columns: np.logical_not(truth(columns)))
            case ast.BoolOp(op=op, values=values):
                join = np.logical_and if isinstance(op, ast.And) else np.logical_or
                return _Term("bool", _joined([self._truth(each) for each in values], join))
            case ast.Compare(left=left, ops=ops, comparators=others):
                return _Term("bool", self._comparisons([left, *others], ops, node))
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return self._choice(test, body, orelse)
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
                return self._call(node, name, args)
        raise self._refused(node, "not part of this language", "numbers, texts, columns, operators, functions")

    def _name(self, node: ast.expr, name: str) -> _Term:
        if name not in self._kinds:
            known = ", ".join(self._kinds)
            raise self._refused(node, "no such column before this one", f"one of {known}")
        self.names[name] = None
        return _Term(self._kinds[name], lambda columns: columns[name])

    def _constant(self, node: ast.expr, value: object) -> _Term:
        if isinstance(value, bool):
            constant: Any = np.bool_(value)
            return _Term("bool", lambda _: constant)
        if isinstance(value, int | float):
            constant = np.float64(value)
            return _Term("number", lambda _: constant)
        if isinstance(value, str):
            constant = np.array(value, dtype=object)
            return _Term("text", lambda _: constant)
        raise self._refused(node, "not a constant of this language", "a number, a text, True or False")

    def _arithmetic(self, left: _Term, op: ast.operator, right: _Term, node: ast.expr) -> _Term:
        if left.kind == right.kind == "time" and isinstance(op, ast.Sub):
            first, second = left.compute, right.compute
            return _Term("number", lambda columns: np.true_divide(first(columns) - second(columns), SECOND))
        one, other = self._as_number(left, node), self._as_number(right, node)
        work = _ARITHMETIC[type(op)]
        return _Term("number", lambda columns: work(one(columns), other(columns)))

    def _comparisons(self, operands: Sequence[ast.expr], ops: Sequence[ast.cmpop], node: ast.expr) -> Compute:
        found: list[Compute] = []
        for left, op, right in zip(operands, ops, operands[1:], strict=False):
            if isinstance(op, ast.In | ast.NotIn):
                found.append(self._among(left, right, isinstance(op, ast.NotIn)))
            else:
                found.append(self._comparison(self.term(left), op, self.term(right), node))
        return found[0] if len(found) == 1 else _joined(found, np.logical_and)

    def _comparison(self, left: _Term, op: ast.cmpop, right: _Term, node: ast.expr) -> Compute:
        if type(op) not in _COMPARED:
            raise self._refused(node, "not a comparison of this language", "< <= > >= == != in")
        if left.kind not in ("text", "time") or left.kind != right.kind:
            one, other = self._as_number(left, node), self._as_number(right, node)
        elif left.kind == "text" and not isinstance(op, _EQUALITIES):
            raise self._refused(node, "texts have no order here", "== or !=")
        else:
            one, other = left.compute, right.compute
        compare = _COMPARED[type(op)]
        return lambda columns: np.asarray(compare(one(columns), other(columns)), dtype=bool)

    def _among(self, left: ast.expr, right: ast.expr, without: bool) -> Compute:
        if not isinstance(right, ast.Tuple | ast.List | ast.Set) or not right.elts:
            raise self._refused(right, "not a list of constants", 'constants, as in ("a", "b")')
        term = self.term(left)
        equal = [self._comparison(term, ast.Eq(), self.term(item), left) for item in right.elts]
        among = _joined(equal, np.logical_or)
        return (lambda columns: np.logical_not(among(columns))) if without else among

    def _choice(self, test: ast.expr, body: ast.expr, orelse: ast.expr) -> _Term:
        return self._apply(FUNCTIONS["where"], "where", [test, body, orelse], test)

    def _call(self, node: ast.expr, name: str, args: Sequence[ast.expr]) -> _Term:
        if name not in FUNCTIONS:
            raise self._refused(node, "no such function", f"one of {', '.join(sorted(FUNCTIONS))}")
        return self._apply(FUNCTIONS[name], name, args, node)

    def _apply(self, function: Function, name: str, args: Sequence[ast.expr], node: ast.expr) -> _Term:
        least, most = function.arguments
        if not least <= len(args) <= most:
            raise self._refused(node, f"{name} has other arguments", function.shown(name))
        given: list[Compute] = []
        kinds: list[Kind] = []
        for arg, wanted in zip(args, function.kinds(len(args)), strict=True):
            if wanted == "number":
                given.append(self._number(arg))
            elif wanted == "bool":
                given.append(self._truth(arg))
            else:
                term = self.term(arg)
                if wanted not in ("any", term.kind):
                    raise self._refused(arg, f"{name} is not for values of this kind ({term.kind})", wanted)
                given.append(term.compute)
                kinds.append(term.kind)
        if function.result == "any" and len({*kinds}) > 1:
            raise self._refused(node, "values of different kinds", " or ".join(dict.fromkeys(kinds)))
        work = function.work
        return _Term(
            kinds[0] if function.result == "any" else function.result,
            lambda columns: work(*[each(columns) for each in given]),
        )

    def _number(self, node: ast.expr) -> Compute:
        return self._as_number(self.term(node), node)

    def _as_number(self, term: _Term, node: ast.expr) -> Compute:
        if term.kind == "bool":
            compute = term.compute
            return lambda columns: np.asarray(compute(columns), dtype=np.float64)
        if term.kind != "number":
            raise self._refused(node, f"a {term.kind} is not a number here", "numbers, or two of one kind")
        return term.compute

    def _truth(self, node: ast.expr) -> Compute:
        """A condition; a number is true unless it is 0 or null."""
        term = self.term(node)
        if term.kind == "bool":
            return term.compute
        number = self._as_number(term, node)
        return lambda columns: _is_true(number(columns))

    def _refused(self, node: ast.expr, message: str, expected: str) -> InvalidInput:
        said = ast.get_source_segment(self._text, node) or self._text
        return InvalidInput(message, found=f"`{said[:60]}`", expected=expected)


def _is_true(number: Any) -> Any:
    return np.logical_and(number != 0, number == number)


def _joined(parts: Sequence[Compute], join: Callable[[Any, Any], Any]) -> Compute:
    first, *rest = parts

    def joined(columns: Columns) -> Column:
        found = first(columns)
        for part in rest:
            found = join(found, part(columns))
        return found

    return joined
