"""What every result is: a frozen dataclass whose declaration is also its JSON and its JSON Schema.

A field's type says the unit (:mod:`rlhf_budget.scenario.units`), its docstring the meaning and its
name the key. Where a class's JSON differs from its fields, ``json_names`` says so once. From the
same declaration :mod:`rlhf_budget.report.schema` reads the schemas.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from functools import cache
from importlib import import_module
from typing import Any, ClassVar, Final

NOT_IN_JSON: Final = {"json": "never"}
"""Metadata of a field that JSON does not show."""
LEFT_OUT_IF_NONE: Final = {"json": "unless None"}
"""Metadata of a field whose key is absent, rather than null, where it is None."""
AS_MAPPING: Final = {"json": "mapping"}
"""Metadata of pairs (name, value), which JSON shows as an object."""


class Record:
    """Base of results: what JSON shows of them."""

    __slots__ = ()

    json_names: ClassVar[tuple[str, ...]] = ("...",)
    """Keys in their order: an attribute, a path such as ``rule.limit`` (its key is the last name;
    null where anything on the way is None), or ``key=path``. ``...`` stands for the fields that no
    path begins with."""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        form: dict[str, Any] = json_form(self)
        return form


class Shown(Record):
    """Base of results that notebooks show."""

    __slots__ = ()

    def _repr_html_(self) -> str | None:
        found: str | None = _notebook().html(self)
        return found


def _notebook() -> Any:
    # A door upstairs, opened by name: nothing here depends on what notebooks show.
    return import_module("rlhf_budget.report.notebook")


class Result(Shown):
    """Base of what whole commands answer: ``warnings`` are for the header of the JSON."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form without its header, plus ``warnings``."""
        return {**json_form(self), "warnings": json_form(self.warnings)}  # type: ignore[attr-defined]


class Tabular(Shown):
    """Base of results that are tables by nature."""

    __slots__ = ()

    def rows(self) -> list[dict[str, Any]]:
        """Return one mapping per row."""
        raise NotImplementedError

    def to_frame(self, backend: str | None = None) -> Any:
        """Return the table as a data frame, with a column for every leaf of the JSON.

        Parameters
        ----------
        backend
            ``pandas``, ``polars`` or ``pyarrow``; by default the first of them that is installed.

        Returns
        -------
        DataFrame or Table
            That package's own.

        Raises
        ------
        MissingExtraError
            Without narwhals (extra ``calibrate``) or without such a package.
        """
        return _notebook().frame(self.rows(), backend)


def json_form(value: Any) -> Any:
    """Return the JSON form of a value: objects, lists, and what JSON has itself."""
    if is_dataclass(value):
        form = {}
        kind: Any = type(value)
        for key, path, how in json_keys(kind):
            inner: Any = value
            for name in path:
                inner = None if inner is None else getattr(inner, name)
            # A method without arguments, such as a scenario's ``inputs``, is a value too.
            inner = inner() if callable(inner) else inner
            if how != LEFT_OUT_IF_NONE["json"] or inner is not None:
                form[key] = json_form(dict(inner) if how == AS_MAPPING["json"] else inner)
        return form
    if isinstance(value, (tuple, list)):
        return [json_form(entry) for entry in value]
    if isinstance(value, dict):
        return {key: json_form(entry) for key, entry in value.items()}
    return value


@cache
def json_keys(kind: Any) -> tuple[tuple[str, tuple[str, ...], str | None], ...]:
    """Return the key, the path and the metadata of everything that JSON shows of a class."""
    how = {field.name: field.metadata.get("json") for field in fields(kind)}
    names = getattr(kind, "json_names", Record.json_names)
    named = {name.rpartition("=")[2].split(".")[0] for name in names}
    rest = [name for name in how if name not in named and how[name] != NOT_IN_JSON["json"]]
    entries = []
    for name in names:
        for written in rest if name == "..." else [name]:
            key, _, path = written.rpartition("=")
            steps = tuple(path.split("."))
            entries.append((key or steps[-1], steps, how.get(path)))
    return tuple(entries)
