"""The SQL in which logs of any layout become one table: DuckDB's and Spark's spelling of it.

Both engines read a JSON line as text and take fields from it by path, so that a broken line, a
number written as text or a missing key costs its own row and nothing else.
"""

# ruff: noqa: S608 (names of columns and files are quoted; nothing else comes from the user)
from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from rlhf_budget.calibrate.logs.fields import USED
from rlhf_budget.calibrate.logs.names import NAMED_STEP, ONLY_NUMBER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rlhf_budget.calibrate.logs.fields import Field, Layout
    from rlhf_budget.calibrate.logs.files import Format

_LONGEST_KEY = 40
"""Spark groups longer prompts by their MD5 sum: the table of groups stays small."""
LARGEST_NUMBER = 1e70
"""Larger rewards and log-ratios count as infinite: their fourth powers would be."""
_LARGEST_RECORD = 64 << 20
"""Longest JSON record that is read, in bytes; each thread's buffers hold several."""
_CSV_BUFFER = 8_000_000
"""Bytes of a CSV file that a thread takes at once; four times the longest row."""
_RECORD_SIZE = f"maximum_object_size={_LARGEST_RECORD}, filename=true"
_RECORDS = (
    "unnest(CASE WHEN json_type(json) = 'ARRAY' THEN json_extract(json, '$[*]') ELSE [json] END)"
)
_REASONS = (
    USED,
    "evaluation",
    "malformed-row",
    "null-reward",
    "reward-not-a-number",
    "nan-reward",
    "infinite-reward",
    "missing-prompt",
    "missing-step",
)
_ONE_ENTRY = "^[{][^,:{}]*:([^,:{}]*)[}]$"


class SqlDialect(Protocol):
    """What differs between the engines' SQL."""

    def identifier(self, name: str) -> str:
        """Quote a column name."""

    def json_path(self, field: Field) -> str:
        """Return the JSON path of a field, as a quoted literal."""

    def json_text(self, expression: str) -> str:
        """Return a nested value as JSON text."""

    def total(self, text: str) -> str:
        """Return the sum of the numbers in the text of a flat JSON list."""

    def row_hash(self, expressions: list[str]) -> str:
        """Return a whole number in [0, 2³²) that depends on all expressions."""

    def key(self, text: str) -> str:
        """Return what stands for a prompt, whose text may be long, in the rows."""

    def reason(self, name: str) -> str:
        """Return one of ``_REASONS`` as a value."""


class DuckDBDialect:
    """DuckDB."""

    def identifier(self, name: str) -> str:
        """Quote a column name."""
        return '"' + name.replace('"', '""') + '"'

    def json_path(self, field: Field) -> str:
        """Return the JSON path of a field, as a quoted literal."""
        inner = "".join(f"[{position}]" for position in field.inner)
        name = field.name.replace('"', '\\"').replace("'", "''")
        return f"'$.\"{name}\"{inner}'"

    def json_text(self, expression: str) -> str:
        """Return a nested value as JSON text."""
        return f"CAST(to_json({expression}) AS VARCHAR)"

    def total(self, text: str) -> str:
        """Return the sum of the numbers in the text of a flat JSON list."""
        return f"list_sum(TRY_CAST({text} AS DOUBLE[]))"

    def row_hash(self, expressions: list[str]) -> str:
        """Return a whole number in [0, 2³²) that depends on all expressions."""
        return f"CAST(hash({', '.join(expressions)}) % 4294967296 AS BIGINT)"

    def key(self, text: str) -> str:
        """Return the text, which ``hashed_prompts`` takes when rows of all sources are united."""
        return text

    def reason(self, name: str) -> str:
        """Return one of ``_REASONS`` as a value of one byte."""
        return f"CAST('{name}' AS ENUM {_REASONS})"


class SparkDialect:
    """Spark SQL."""

    def identifier(self, name: str) -> str:
        """Quote a column name."""
        return "`" + name.replace("`", "``") + "`"

    def json_path(self, field: Field) -> str:
        """Return the JSON path of a field, as a quoted literal."""
        inner = "".join(f"[{position}]" for position in field.inner)
        name = field.name.replace("\\", "\\\\").replace("'", "\\'")
        return f"\"$['{name}']{inner}\""

    def json_text(self, expression: str) -> str:
        """Return a nested value as JSON text."""
        return f"to_json({expression})"

    def total(self, text: str) -> str:
        """Return the sum of the numbers in the text of a flat JSON list."""
        return f"aggregate(from_json({text}, 'array<double>'), 0D, (a, b) -> a + b)"

    def row_hash(self, expressions: list[str]) -> str:
        """Return a whole number in [0, 2³²) that depends on all expressions."""
        return f"pmod(xxhash64({', '.join(expressions)}), 4294967296)"

    def key(self, text: str) -> str:
        """Return the text, or its MD5 sum where it is long."""
        return f"CASE WHEN length({text}) > {_LONGEST_KEY} THEN md5({text}) ELSE {text} END"

    def reason(self, name: str) -> str:
        """Return one of ``_REASONS`` as a value."""
        return f"'{name}'"


def quoted(text: str) -> str:
    """Return an SQL string literal; paths and names hold no line breaks."""
    return "'" + text.replace("'", "''") + "'"


def file_list(paths: Sequence[str]) -> str:
    """Return DuckDB's list of files; it would read a file's name as a pattern."""
    escaped = ("".join(f"[{c}]" if c in "*?[" else c for c in path) for path in paths)
    return "[" + ", ".join(quoted(path) for path in escaped) + "]"


def file_table(
    kind: Format, paths: Sequence[str], *, names: bool = True, sound: bool = False
) -> str:
    """Return DuckDB's table of files of one kind.

    Parameters
    ----------
    kind
        How they are written. JSON gives one record a row in the column ``json``, NULL where broken.
    paths
        Files; no patterns.
    names
        Whether to add the column ``file_name``.
    sound
        Whether to read CSV as if no row were broken.
    """
    named = ", filename='file_name'" if names else ""
    if kind == "parquet":
        return f"read_parquet({file_list(paths)}, union_by_name=true{named})"
    if kind == "csv":
        # Guessing takes the apostrophes of prose for quotes, and headings for comments. Rows padded
        # with nulls may hold quoted line breaks, as completions do, only where one thread reads a
        # file.
        # The usual buffers, of 32 MB each, leave no room within the limit on memory.
        sound_only = f", buffer_size={_CSV_BUFFER}"
        lenient = ", parallel=false, null_padding=true, strict_mode=false"
        how = sound_only if sound else lenient
        return (
            f"read_csv({file_list(paths)}, all_varchar=true, header=true, union_by_name=true,"
            f""" delim=',', quote='"', escape='"', comment='', skip=0{how}{named})"""
        )
    if kind == "jsonl":
        table = f"read_ndjson_objects({file_list(paths)}, ignore_errors=true, {_RECORD_SIZE})"
    else:
        table = f"read_json_objects({file_list(paths)}, format='auto', {_RECORD_SIZE})"
    # DuckDB takes an array behind a byte order mark for one record.
    record = "json" if kind == "jsonl" else _RECORDS
    return f"(SELECT {record} AS json, filename AS file_name FROM {table})"


def typed_json_table(paths: Sequence[str], columns: str) -> str:
    """Return DuckDB's table of JSON lines in typed columns: fast, where no line is broken.

    Columns of another type than ``VARCHAR`` make anything that is neither NULL nor of that type an
    error. Records are as long as DuckDB takes by itself, 16 MiB.
    """
    return (
        f"read_json({file_list(paths)}, format='newline_delimited', filename=true,"
        f" ignore_errors={'DOUBLE' not in columns}, columns={{{columns}}})"
    )


def hashed_prompts(rows: str) -> str:
    """Return DuckDB's rows with 64 bits for each prompt in place of its text.

    Groups then are of one small size, in memory and on disk. Among n prompts, two have the same
    bits with a chance of ``n²/2⁶⁵``: 3e-6 for ten million.
    """
    known = "CASE WHEN prompt IS NULL THEN NULL ELSE hash(prompt) END"
    return f"SELECT * REPLACE ({known} AS prompt) FROM ({rows})"


class Columns:
    """How the fields of one source are spelled in SQL."""

    def __init__(self, dialect: SqlDialect, types: Mapping[str, str]) -> None:
        self._dialect = dialect
        self._types = types

    def raw(self, field: Field) -> str:
        """Return the value as it stands; NULL where the source has no such column."""
        name = field_column(field)
        return self._dialect.identifier(name) if name in self._types else "NULL"

    def is_whole_number(self, field: Field) -> bool:
        """Return whether the source's column holds whole numbers."""
        return self._types.get(field_column(field), "").upper() in {"BIGINT", "INTEGER", "INT"}

    def text(self, field: Field) -> str:
        """Return the value as text, nested values as JSON."""
        raw = self.raw(field)
        kind = self._types.get(field_column(field), "").upper()
        nested = kind.endswith("]") or kind.startswith(("STRUCT", "MAP", "ARRAY"))
        text = self._dialect.json_text(raw) if nested else f"CAST({raw} AS STRING)"
        if field.pattern is None:
            return text
        return f"coalesce(nullif(regexp_extract({text}, '{field.pattern}', 1), ''), {text})"

    def number(self, field: Field) -> str:
        """Return the value as a double; true and false count as 1 and 0; NULL for other text."""
        kind = self._types.get(field_column(field), "").upper()
        textual = kind.startswith(("VARCHAR", "STRING", "STRUCT", "MAP", "ARRAY"))
        if kind and not textual and not kind.endswith("]"):
            return f"CAST({self.raw(field)} AS DOUBLE)"
        text = self.text(field)
        # A mapping of one entry, such as {"accuracy": 1.0}, is its value.
        only = f"regexp_extract({text}, '{_ONE_ENTRY}', 1)"
        return (
            f"coalesce(TRY_CAST({text} AS DOUBLE), CASE WHEN lower({text}) = 'true' THEN 1e0"
            f" WHEN lower({text}) = 'false' THEN 0e0"
            f" WHEN {text} LIKE '{{%' THEN TRY_CAST({only} AS DOUBLE) END)"
        )

    def sequence_number(self, field: Field) -> str:
        """Return a number, or the sum of a list written per token."""
        kind = self._types.get(field_column(field), "").upper()
        if kind in {"DOUBLE", "FLOAT", "BIGINT", "INTEGER", "INT", "LONG"}:
            return self.number(field)
        text = self.text(field)
        if field.kind == "length":
            return f"CASE WHEN {text} LIKE '[%]' THEN CAST(json_array_length({text}) AS DOUBLE) END"
        # Inner brackets go: a padded list in a list of one is one list of numbers.
        flat = f"concat('[', replace(replace({text}, '[', ''), ']', ''), ']')"
        listed = f"CASE WHEN {text} LIKE '[%]' THEN {self._dialect.total(flat)} END"
        return f"coalesce({listed}, {self.number(field)})"


def field_column(field: Field) -> str:
    """Return the name of the column that a source has for a field."""
    return field.name + "".join(f"[{position}]" for position in field.inner)


def normalised(
    layout: Layout, dialect: SqlDialect, types: Mapping[str, str], source: str, *, evaluation: bool
) -> str:
    """Return the SELECT that turns one source into the columns of ``fields.COLUMNS``.

    Parameters
    ----------
    layout
        Where each role is.
    dialect
        The engine's SQL.
    types
        Types of the source's columns, by name (``field_column`` of each field).
    source
        Name or subquery of the source; it has ``malformed`` and ``file_name`` columns too.
    evaluation
        Whether these are evaluation rows to be left out.
    """
    columns = Columns(dialect, types)
    rewards = [(columns.number(field), weight) for field, weight in layout.rewards]
    raw_rewards = [columns.raw(field) for field, _ in layout.rewards]
    if len(rewards) == 1 and rewards[0][1] == 1:
        total = rewards[0][0]
    else:
        # A reward function that returns None leaves the others' sum as it is.
        total = " + ".join(f"{weight!r} * coalesce({number}, 0e0)" for number, weight in rewards)
    has_reward = " OR ".join(f"{raw} IS NOT NULL" for raw in raw_rewards)
    outcome = _reason(layout, dialect, evaluation=evaluation)
    each = "".join(
        f", coalesce({number}, 0e0) AS reward_{index}, CASE WHEN {raw} IS NULL THEN 1 ELSE 0 END"
        f" AS reward_null_{index}"
        for index, ((number, _), raw) in enumerate(zip(rewards, raw_rewards, strict=True))
    )

    def finite(name: str) -> str:
        beyond = f"isnan({name}) OR abs({name}) > {LARGEST_NUMBER!r}"
        return f"CASE WHEN {beyond} THEN NULL ELSE {name} END AS {name}"

    return f"""
        SELECT {outcome} AS reason, step, prompt, reward,
               {finite("log_ratio")}, {finite("tokens")}, {finite("behaviour")}, fingerprint,
               rollout, output_index, file_name
               {"".join(f", reward_{i}, reward_null_{i}" for i in range(len(rewards)))}
        FROM (SELECT {_step(layout, columns)} AS step,
                     {_prompt(layout, columns, dialect)} AS prompt,
                     CAST({total} AS DOUBLE) AS reward, ({has_reward}) AS has_reward, malformed,
                     {_log_ratio(layout, columns)} AS log_ratio,
                     {_optional(layout.tokens, columns)} AS tokens,
                     {_behaviour(layout, columns)} AS behaviour,
                     {_fingerprint(layout, columns, dialect)} AS fingerprint,
                     {_rollout(layout, columns)} AS rollout,
                     {_output(layout, columns)} AS output_index, file_name{each}
              FROM {source}) AS parsed"""


def file_contents(rows: str, dialect: SqlDialect) -> str:
    """Return the SELECT of what each file holds, in any order and form.

    Columns are the file, its rows, the sum of their hashes, and whether they are telling.
    """
    key = dialect.row_hash(["step", "prompt", "reward", "fingerprint"])
    return f"""SELECT file_name, count(*), sum({key}),
            bool_or(fingerprint IS NOT NULL OR reward <> floor(reward))
        FROM ({rows}) AS every GROUP BY file_name"""


def stored_columns(layout: Layout, *, with_files: bool) -> tuple[str, str]:
    """Return the columns of :func:`normalised` that differ by row, and the others as constants.

    The name of a row's file, if asked for, is of the type ``files``.

    Returns
    -------
    str, str
        Names to select into a table; expressions to add to what is selected from it, each after a
        comma.
    """
    stored = ["reason", "step", "prompt", "reward"]
    constant = [] if with_files else ["CAST(NULL AS VARCHAR) AS file_name"]
    for name, kind, present in (
        ("log_ratio", "DOUBLE", layout.has_log_ratio()),
        ("tokens", "DOUBLE", layout.tokens is not None),
        ("behaviour", "DOUBLE", layout.behaviour is not None and layout.policy is not None),
        ("fingerprint", "BIGINT", layout.completion is not None),
        ("rollout", "VARCHAR", layout.rollout is not None),
        ("output_index", "BIGINT", layout.output is not None),
    ):
        if present:
            stored.append(name)
        else:
            constant.append(f"CAST(NULL AS {kind}) AS {name}")
    if len(layout.rewards) == 1:
        constant += ["coalesce(reward, 0e0) AS reward_0", "0 AS reward_null_0"]
    else:
        parts = range(len(layout.rewards))
        stored += [f"{name}_{i}" for i in parts for name in ("reward", "reward_null")]
    if with_files:
        stored.append("CAST(file_name AS files) AS file_name")
    return ", ".join(stored), "".join(f", {expression}" for expression in constant)


def _reason(layout: Layout, dialect: SqlDialect, *, evaluation: bool) -> str:
    reasons = {name: dialect.reason(name) for name in _REASONS}
    # Almost every row is used: the first test settles it, and NaN is above all numbers.
    step_known = "AND step IS NOT NULL" if layout.step else ""
    last = reasons["evaluation" if evaluation else USED]
    return f"""CASE WHEN has_reward AND abs(reward) <= {LARGEST_NUMBER!r} AND prompt IS NOT NULL
        {step_known} AND NOT malformed THEN {last}
        WHEN malformed THEN {reasons["malformed-row"]}
        WHEN NOT has_reward THEN {reasons["null-reward"]}
        WHEN reward IS NULL THEN {reasons["reward-not-a-number"]}
        WHEN isnan(reward) THEN {reasons["nan-reward"]}
        WHEN abs(reward) > {LARGEST_NUMBER!r} THEN {reasons["infinite-reward"]}
        WHEN prompt IS NULL THEN {reasons["missing-prompt"]} ELSE {reasons["missing-step"]} END"""


def _step(layout: Layout, columns: Columns) -> str:
    if layout.step is None:
        return "CAST(NULL AS BIGINT)"
    if layout.step.kind == "path":
        name = f"lower(split_part(file_name, '/', {-1 - layout.step.inner[0]}))"
        tried = [f"nullif(regexp_extract({name}, '{p}', 1), '')" for p in (NAMED_STEP, ONLY_NUMBER)]
        return f"TRY_CAST(coalesce({', '.join(tried)}) AS BIGINT)"
    return f"TRY_CAST({columns.number(layout.step)} AS BIGINT)"


def _prompt(layout: Layout, columns: Columns, dialect: SqlDialect) -> str:
    if layout.prompt is None:
        return "CAST(NULL AS STRING)"
    if layout.prompt.pattern is not None:
        return columns.text(layout.prompt)
    if columns.is_whole_number(layout.prompt):
        return columns.raw(layout.prompt)
    return dialect.key(columns.text(layout.prompt))


def _rollout(layout: Layout, columns: Columns) -> str:
    return "CAST(NULL AS STRING)" if layout.rollout is None else columns.text(layout.rollout)


def _output(layout: Layout, columns: Columns) -> str:
    if layout.output is None:
        return "0"
    return f"coalesce(TRY_CAST({columns.text(layout.output)} AS BIGINT), 0)"


def _log_ratio(layout: Layout, columns: Columns) -> str:
    if layout.log_ratio is not None:
        return columns.sequence_number(layout.log_ratio)
    if layout.policy is not None and layout.reference is not None:
        policy, reference = layout.policy, layout.reference
        return f"{columns.sequence_number(policy)} - {columns.sequence_number(reference)}"
    return "CAST(NULL AS DOUBLE)"


def _behaviour(layout: Layout, columns: Columns) -> str:
    """Policy less behaviour: how far the rollouts are from the policy that is evaluated."""
    if layout.policy is None or layout.behaviour is None:
        return "CAST(NULL AS DOUBLE)"
    policy, behaviour = layout.policy, layout.behaviour
    return f"{columns.sequence_number(policy)} - {columns.sequence_number(behaviour)}"


def _optional(field: Field | None, columns: Columns) -> str:
    return "CAST(NULL AS DOUBLE)" if field is None else columns.sequence_number(field)


def _fingerprint(layout: Layout, columns: Columns, dialect: SqlDialect) -> str:
    if layout.completion is None or layout.prompt is None:
        return "CAST(NULL AS BIGINT)"
    texts = [columns.text(field) for field in (layout.prompt, layout.completion)]
    return dialect.row_hash([*texts, *(columns.number(field) for field, _ in layout.rewards)])
