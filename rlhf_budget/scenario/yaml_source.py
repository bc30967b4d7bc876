"""Safe YAML with positions: text -> plain values, and a map from key path to line.

The schema is YAML 1.2's core schema, plus ``_`` between the digits of numbers: ``no`` and ``1:30``
are texts, ``5e4`` and ``50_000`` are numbers, ``010`` is ten. Values are built from PyYAML's nodes
here, because its own constructors follow YAML 1.1, keep the last of two equal keys in silence and
forget where a value stood.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any, Final

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode
from yaml.resolver import BaseResolver

from rlhf_budget.errors import Problem, ScenarioError

Path = tuple[str, ...]
"""Keys from the top of the file down to a value; entries of lists are numbered from 0."""

_DIGITS = r"[0-9](?:_?[0-9])*"
_NULL: Final = re.compile(r"~|null|Null|NULL|")
_TRUTH: Final = re.compile(r"true|True|TRUE|false|False|FALSE")
_INTEGERS: Final = (
    (re.compile(rf"[-+]?{_DIGITS}"), 10),
    (re.compile(r"0o[0-7](?:_?[0-7])*"), 8),
    (re.compile(r"0x[0-9a-fA-F](?:_?[0-9a-fA-F])*"), 16),
)
_FLOAT: Final = re.compile(
    rf"[-+]?(?:\.{_DIGITS}|{_DIGITS}(?:\.(?:{_DIGITS})?)?)(?:[eE][-+]?[0-9]+)?"
)
_NOT_FINITE: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")

_PLAIN: Final = "plain"
_YAML_TAG: Final = "tag:yaml.org,2002:"
_CORE_TAGS: Final = frozenset(
    _YAML_TAG + name for name in ("str", "int", "float", "bool", "null", "map", "seq")
)
_LONGEST_INTEGER: Final = 400
"""Digits; a float has at most 309 before the point."""
_MOST_REPEATS: Final = 100_000
"""Nodes that aliases may repeat, all in all."""
_DEEPEST: Final = 100
"""Levels of mappings and lists."""


class _CoreResolver(BaseResolver):
    """Mark unquoted, untagged scalars, and leave their meaning to ``scalar_value``."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        if kind is ScalarNode and implicit[0]:
            return _PLAIN
        return super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]


if yaml.__with_libyaml__:
    from yaml import cyaml

    class _NodeReader(cyaml.CParser, _CoreResolver):  # type: ignore[name-defined,misc]
        def __init__(self, text: str) -> None:
            cyaml.CParser.__init__(self, text)  # type: ignore[attr-defined]
            _CoreResolver.__init__(self)

else:  # pragma: no cover - wheels of PyYAML bring libyaml
    from yaml.composer import Composer
    from yaml.parser import Parser
    from yaml.reader import Reader
    from yaml.scanner import Scanner

    class _NodeReader(Reader, Scanner, Parser, Composer, _CoreResolver):  # type: ignore[no-redef]
        def __init__(self, text: str) -> None:
            Reader.__init__(self, text)
            Scanner.__init__(self)
            Parser.__init__(self)
            Composer.__init__(self)
            _CoreResolver.__init__(self)


class NumberError(ValueError):
    """A number that no float can hold."""


def scalar_value(text: str) -> bool | int | float | str | None:
    """Return what an unquoted scalar means.

    Raises
    ------
    NumberError
        For infinities, not-a-numbers, and numbers beyond the range of floats.
    """
    if _NULL.fullmatch(text):
        return None
    if _TRUTH.fullmatch(text):
        return text.lower() == "true"
    if _NOT_FINITE.fullmatch(text):
        raise NumberError("a finite number")
    for pattern, base in _INTEGERS:
        if pattern.fullmatch(text):
            return _integer(text, base)
    return _float(text) if _FLOAT.fullmatch(text) else text


def _integer(text: str, base: int) -> int:
    if len(text) > _LONGEST_INTEGER:
        raise NumberError("a number below 1.8e308")
    return int(text, base)


def _float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise NumberError("a number below 1.8e308")
    mantissa = re.split("[eE]", text)[0]
    if number == 0 and re.search("[1-9]", mantissa):
        raise NumberError("0, or a number above 4.9e-324")
    return number


@dataclass
class YamlDocument:
    """The plain values of one YAML text, and where they stand."""

    values: Any = None
    """Mappings, lists, texts, numbers, truth values and None."""
    lines: dict[Path, int] = field(default_factory=dict)
    """Path -> line, from 1."""
    problems: list[tuple[Path, str, str, int]] = field(default_factory=list)
    """(path, found, allowed, line) of everything that is wrong with the YAML as such."""


def read_yaml(text: str, file: str | None) -> YamlDocument:
    """Read one YAML document; ``file`` is named in problems.

    Duplicate keys, foreign tags and numbers out of range are in its ``problems``, so that they can
    be reported with everything else.

    Raises
    ------
    ScenarioError
        When the text is no YAML, or holds several documents, or repeats aliases beyond reason.
    """
    try:
        root = _NodeReader(text).get_single_node()
        return _Builder(file).document(root)
    except yaml.MarkedYAMLError as error:
        raise ScenarioError((_syntax_problem(error, file),)) from None
    except yaml.YAMLError as error:
        found = str(error).splitlines()[0]
        line = text.count("\n", 0, getattr(error, "position", 0)) + 1
        raise ScenarioError((Problem("", found, "printable YAML text", file, line),)) from None
    except RecursionError:
        problem = Problem("", "nesting beyond reason", "mappings a few levels deep", file)
        raise ScenarioError((problem,)) from None


def _syntax_problem(error: yaml.MarkedYAMLError, file: str | None) -> Problem:
    mark = error.problem_mark or error.context_mark
    line = None if mark is None else mark.line + 1
    if error.problem is not None and "another document" in error.problem:
        return Problem("", "a second document (---)", "one document in a file", file, line)
    found = ", ".join(part for part in (error.problem, error.context) if part)
    return Problem("", found.removeprefix("found "), "valid YAML", file, line)


class _Builder:
    """Turns nodes into plain values."""

    def __init__(self, file: str | None) -> None:
        self._file = file
        self._result = YamlDocument()
        self._built: set[int] = set()
        self._open: set[int] = set()
        self._repeats = 0

    def document(self, root: Node | None) -> YamlDocument:
        if root is not None:
            self._result.values = self._value(root, ())
        return self._result

    def _problem(self, path: Path, node: Node, found: str, allowed: str) -> None:
        self._result.problems.append((path, found, allowed, node.start_mark.line + 1))

    def _value(self, node: Node, path: Path) -> Any:
        self._result.lines.setdefault(path, node.start_mark.line + 1)
        if not (node.tag == _PLAIN or node.tag in _CORE_TAGS):
            tag = node.tag.replace(_YAML_TAG, "!!")
            self._problem(path, node, f"the tag {tag}", "plain YAML without such a tag")
            return None
        if isinstance(node, ScalarNode):
            return self._scalar(node, path)
        if len(path) > _DEEPEST:
            # As where the stack ends, which depends on who calls.
            raise RecursionError
        self._count_repeat(node, path)
        self._open.add(id(node))
        if isinstance(node, MappingNode):
            value: Any = self._mapping(node, path)
        else:
            value = [self._value(entry, (*path, str(i))) for i, entry in enumerate(node.value)]
        self._open.discard(id(node))
        return value

    def _count_repeat(self, node: Node, path: Path) -> None:
        line = node.start_mark.line + 1
        key = ".".join(path)
        if id(node) in self._open:
            problem = Problem(key, "an alias of itself", "a value", self._file, line)
            raise ScenarioError((problem,))
        if id(node) in self._built:
            self._repeats += len(node.value) + 1
        self._built.add(id(node))
        if self._repeats > _MOST_REPEATS:
            found = "aliases that expand beyond reason"
            raise ScenarioError((Problem(key, found, "values written out", self._file, line),))

    def _mapping(self, node: MappingNode, path: Path) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                self._problem(path, key_node, "a key that is no text", "texts as keys")
                continue
            key = key_node.value
            here = (*path, key)
            if key in values:
                first = self._result.lines[here]
                found = f"a second time (first on line {first})"
                self._problem(here, key_node, found, "each key once")
                continue
            self._result.lines[here] = key_node.start_mark.line + 1
            values[key] = self._value(value_node, here)
        return values

    def _scalar(self, node: ScalarNode, path: Path) -> Any:
        text: str = node.value
        if node.tag == _YAML_TAG + "str":
            return text
        try:
            value = scalar_value(text)
        except NumberError as error:
            self._problem(path, node, text if len(text) < 40 else "a huge number", str(error))
            return None
        name = node.tag.removeprefix(_YAML_TAG)
        if name == _PLAIN:
            return value
        if name == "float" and type(value) is int:
            return float(value)
        expected = {"int": int, "float": float, "bool": bool, "null": type(None)}.get(name)
        if type(value) is not expected:
            self._problem(path, node, f"!!{name} {node.value}", f"a value of the type {name}")
            return None
        return value
