r"""Change values in YAML text, leaving every other character as it is.

The text is parsed into nodes that know where they stand; only the text of changed values is
replaced, and new keys get lines of their own. ruamel.yaml's round trip, tried on the files of
tests/calibrate/test_into.py without any change, still rewrites lines: it turns \r\n into \n,
closes up spaces in ``{a: 1,  b: 2}``, joins a list that is broken over lines, moves the comment
behind an alias to a line of its own and indents lists anew.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rlhf_budget.errors import CalibrationError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Mapping

_PLAIN_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_NOT_TEXT = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
_ALIAS = re.compile(r"\s*:\s*(\*[^\s,\]}]+)")


def edit_yaml(text: str, wanted: Mapping[str, Any]) -> str:
    """Return the text of a block mapping with its values changed to the wanted ones.

    Wanted are nested mappings of numbers, texts, truth values and lists; values that are equal to
    those in the text are not touched. Raises CalibrationError if the text cannot be edited so,
    MissingExtraError without ruamel.yaml.
    """
    from rlhf_budget.scenario.yaml_source import read_yaml

    try:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError
    except ImportError:
        raise MissingExtraError(
            "writing into a scenario needs: pip install 'rlhf-budget[calibrate]'"
        ) from None
    try:
        root = YAML(typ="safe", pure=True).compose(text)
    except YAMLError as error:
        raise CalibrationError(f"not editable as YAML: {error}") from None
    edits = _Edits(text)
    present = read_yaml(text, None).values
    if not (root.id == "mapping" and isinstance(present, dict)):
        raise CalibrationError("only a mapping of keys to values can be edited")
    edits.mapping(root, present, dict(wanted))
    return edits.applied()


@dataclass(slots=True)
class _Edits:
    """Replacements of parts of a text, collected and then made together."""

    text: str
    parts: list[tuple[int, int, str]] = field(default_factory=list)

    def applied(self) -> str:
        pieces, position = [], 0
        for start, end, new in sorted(self.parts, key=lambda part: part[:2]):
            if start < position:
                raise CalibrationError("changes overlap; paste the constants by hand")
            pieces += [self.text[position:start], new]
            position = end
        return "".join([*pieces, self.text[position:]])

    def mapping(self, node: Any, present: dict[str, Any], wanted: dict[str, Any]) -> None:
        """Collect what turns one mapping into the wanted one."""
        removed = [key for key in present if key not in wanted]
        added = {key: value for key, value in wanted.items() if key not in present}
        if node.flow_style and (removed or added):
            span = int(node.start_mark.index), int(node.end_mark.index)
            self.parts.append((*span, self._flow_mapping(node, present, wanted)))
            return
        for key_node, value_node in node.value:
            key = str(key_node.value)
            if key not in wanted:
                self._remove(key_node, value_node)
            elif present[key] != wanted[key]:
                self._change(key_node, value_node, present[key], wanted[key])
        if added:
            self._add(node, added)

    def _span(self, key_node: Any, node: Any) -> tuple[int, int]:
        """Return where the content of a value begins and ends; both after the colon if empty.

        The mark of a block's end is at the next token, beyond comments that belong to others.
        """
        start = int(node.start_mark.index)
        colon = self._colon(key_node) + 1
        if node.id == "scalar" and not self.text[start : node.end_mark.index].strip():
            return colon, colon
        if node.id != "mapping" or node.flow_style or not node.value:
            inside = self.text[start : self._last_mark(node)]
            return start, start + len(inside.rstrip())
        return start, self._entry_end(*node.value[-1])

    def _entry_end(self, key_node: Any, value_node: Any) -> int:
        alias = self._alias(key_node, value_node)
        return self._span(key_node, value_node)[1] if alias is None else alias[1]

    def _last_mark(self, node: Any) -> int:
        if node.id == "sequence" and not node.flow_style and node.value:
            return self._last_mark(node.value[-1])
        return int(node.end_mark.index)

    def _colon(self, key_node: Any) -> int:
        return self.text.index(":", key_node.end_mark.index)

    def _flow_mapping(self, node: Any, present: dict[str, Any], wanted: dict[str, Any]) -> str:
        entries = {
            str(key.value): self.text[key.start_mark.index : self._entry_end(key, value)]
            for key, value in node.value
        }
        kept = [key for key in present if key in wanted]
        new = [key for key in wanted if key not in present]
        return _braced(
            entries[key]
            if present.get(key) == wanted[key]
            else f"{_text(key)}: {_inline(wanted[key])}"
            for key in [*kept, *new]
        )

    def _change(self, key_node: Any, value_node: Any, present: Any, wanted: Any) -> None:
        alias = self._alias(key_node, value_node)
        if alias is not None:
            self.parts.append((*alias, _inline(wanted)))
        elif _filled(present) and _filled(wanted):
            self.mapping(value_node, present, wanted)
        elif value_node.id == "scalar" or value_node.flow_style:
            start, end = self._span(key_node, value_node)
            space = "" if start < end else " "
            self.parts.append((start, end, space + _inline(wanted)))
        else:
            self._collapse(key_node, value_node, wanted)

    def _alias(self, key_node: Any, value_node: Any) -> tuple[int, int] | None:
        if value_node.start_mark.index >= key_node.end_mark.index:
            return None
        found = _ALIAS.match(self.text, key_node.end_mark.index)
        if found is None:
            raise CalibrationError(f"{key_node.value!s} is an alias; paste the constants by hand")
        return found.span(1)

    def _collapse(self, key_node: Any, value_node: Any, wanted: Any) -> None:
        """Put an inline value in place of a block below its key; keep the comment of the key."""
        colon = self._colon(key_node) + 1
        comment = self.text[colon : self._line_end(colon)].strip()
        new = f" {_inline(wanted)}" + (f"  {comment}" if comment.startswith("#") else "")
        end = self._line_end(self._span(key_node, value_node)[1])
        end -= self.text[:end].endswith("\r")
        self.parts.append((colon, end, new))

    def _remove(self, key_node: Any, value_node: Any) -> None:
        end = self._entry_end(key_node, value_node)
        start = int(key_node.start_mark.index) - int(key_node.start_mark.column)
        self.parts.append((start, self._next_line(end), ""))

    def _add(self, node: Any, added: dict[str, Any]) -> None:
        column = int(node.value[0][0].start_mark.column)
        position = self._next_line(self._entry_end(*node.value[-1]))
        line_end = "\r\n" if "\r\n" in self.text else "\n"
        lead = "" if self.text[:position].endswith("\n") else line_end
        lines = [line for item in added.items() for line in _block(*item, nested=column == 0)]
        new = "".join(f"{' ' * column}{line}{line_end}" for line in lines)
        self.parts.append((position, position, lead + new))

    def _line_end(self, position: int) -> int:
        found = self.text.find("\n", position)
        return len(self.text) if found < 0 else found

    def _next_line(self, position: int) -> int:
        if position > 0 and self.text[position - 1] == "\n":
            return position
        return min(self._line_end(position) + 1, len(self.text))


def _filled(value: Any) -> bool:
    return isinstance(value, dict) and bool(value)


def _block(key: str, value: Any, *, nested: bool) -> list[str]:
    if nested and isinstance(value, dict) and value:
        inner = [f"  {_text(name)}: {_inline(entry)}" for name, entry in value.items()]
        return [f"{_text(key)}:", *inner]
    return [f"{_text(key)}: {_inline(value)}"]


def _inline(value: Any) -> str:
    """Write a value on one line, as it may stand in flow and block context alike."""
    if isinstance(value, dict):
        return _braced(f"{_text(key)}: {_inline(entry)}" for key, entry in value.items())
    if isinstance(value, list):
        return f"[{', '.join(_inline(entry) for entry in value)}]"
    return _text(value) if isinstance(value, str) else json.dumps(value, allow_nan=False)


def _braced(entries: Any) -> str:
    return f"{{{', '.join(entries)}}}"


def _text(value: str) -> str:
    if _PLAIN_WORD.fullmatch(value) and value.lower() not in _NOT_TEXT:
        return value
    return json.dumps(value, ensure_ascii=False)
