"""Engines: where rows live and the aggregates run.

DuckDB works out of core within a fixed memory limit: text logs are parsed once into a table on
disk, parquet is read in place. Spark runs the same aggregates on a Spark session. A frame that
narwhals takes is its own engine.
"""

# ruff: noqa: S608 (names of columns and files are quoted; nothing else comes from the user)
from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, get_args
from urllib.parse import unquote, urlsplit

from rlhf_budget.calibrate.logs.merges import Contents, Rows
from rlhf_budget.calibrate.logs.scratch import scratch_folder
from rlhf_budget.calibrate.logs.sql import (
    DuckDBDialect,
    SparkDialect,
    field_column,
    file_contents,
    file_list,
    file_table,
    hashed_prompts,
    normalised,
    quoted,
    stored_columns,
    typed_json_table,
)
from rlhf_budget.errors import CalibrationError, FileAccessError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import narwhals as nw

    from rlhf_budget.calibrate.logs.fields import Field, Layout
    from rlhf_budget.calibrate.logs.files import Format, LogFile

Result = TypeVar("Result")
EngineName = Literal["duckdb", "spark"]
Reading = Literal["numbers", "texts", "broken"]
"""How texts are parsed: as if all were numbers where numbers are due, which is fastest; as if no
record were broken; with broken records. Each fails where it does not hold."""

MEMORY_LIMIT = "250MB"
"""What DuckDB may hold before it writes to disk; a process holds some 150 MB besides."""


class Engine(Protocol):
    """What a calibration needs beside the narwhals expressions."""

    def fetch(self, frame: nw.LazyFrame[Any]) -> list[dict[str, Any]]:
        """Return the rows of a small result."""

    def keep(self, frame: nw.LazyFrame[Any]) -> nw.LazyFrame[Any]:
        """Compute a frame once, for several readers."""


class FileEngine(Engine, Protocol):
    """An engine that reads files too."""

    sees_local_files: bool
    """Whether it reads what this process writes to a temporary folder."""

    def columns(self, logs: Sequence[LogFile]) -> dict[str, str]:
        """Return the names and types of the columns of parquet files."""

    def contents(self, logs: Sequence[LogFile], layout: Layout) -> dict[str, Contents]:
        """Return what each file holds, by its path."""

    def read(self, logs: Sequence[LogFile], layout: Layout) -> nw.LazyFrame[Any]:
        """Return the rows of all files in the columns that the aggregates read."""


@contextmanager
def open_engine(name: EngineName) -> Iterator[FileEngine]:
    """Open an engine; what it keeps is gone at the end.

    Raises
    ------
    MissingExtraError
        If its packages are not installed.
    """
    _require("narwhals", "calibrate")
    if name == "spark":
        _require("pyspark", "spark")
        yield SparkEngine()
        return
    _require("duckdb", "calibrate")
    with scratch_folder() as folder:
        engine = DuckDBEngine(folder)
        try:
            yield engine
        finally:
            engine.close()


def _require(package: str, extra: str) -> None:
    from importlib import import_module

    try:
        import_module(package)
    except ImportError as error:
        raise MissingExtraError(
            f"{package} is not installed: pip install 'rlhf-budget[{extra}]'"
        ) from error


def _by_source(logs: Sequence[LogFile]) -> dict[tuple[Format, bool], list[LogFile]]:
    grouped: dict[tuple[Format, bool], list[LogFile]] = {}
    for log in logs:
        grouped.setdefault((log.format, log.evaluation), []).append(log)
    return grouped


class DuckDBEngine:
    """DuckDB on a database file of its own, in a folder that is deleted afterwards."""

    sees_local_files = True

    def __init__(self, folder: Path) -> None:
        import duckdb

        self._connection = duckdb.connect(str(folder / "rows.duckdb"))
        settings = self._connection.execute("SELECT current_setting('memory_limit')").fetchall()
        self._generous_limit = str(settings[0][0])
        self._connection.execute(f"SET temp_directory = {quoted(str(folder / 'spill'))}")
        self._connection.execute("SET preserve_insertion_order = false")
        self._kept = 0
        self._parsed: tuple[Sequence[LogFile], Layout] | None = None

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def columns(self, logs: Sequence[LogFile]) -> dict[str, str]:
        """Return the names and types of the columns of parquet files."""
        with _duckdb_errors(logs):
            described = f"DESCRIBE SELECT * FROM {_table('parquet', logs)}"
            rows = self._connection.execute(described).fetchall()
        return {name: kind for name, kind, *_ in rows if name != "file_name"}

    def contents(self, logs: Sequence[LogFile], layout: Layout) -> dict[str, Contents]:
        """Return what each file holds, by its path."""
        if all(log.format == "parquet" for log in logs):
            rows = self._query(logs, layout, "texts")
        else:
            self._parse(logs, layout, with_files=True)
            rows = "TABLE rollouts"
        query = file_contents(rows, DuckDBDialect())
        with _duckdb_errors(logs):
            return contents_of(self._connection.execute(query).fetchall())

    def read(self, logs: Sequence[LogFile], layout: Layout) -> nw.LazyFrame[Any]:
        """Return the rows of all files in the columns that the aggregates read."""
        import narwhals as nw

        if all(log.format == "parquet" for log in logs):
            with _duckdb_errors(logs):
                query = self._query(logs, layout, "texts")
                self._connection.execute(f"CREATE OR REPLACE TEMP VIEW rollouts AS {query}")
            view = "rollouts"
        else:
            view = self._parsed_rows(logs, layout)
        self._limit_memory(MEMORY_LIMIT)
        return nw.from_native(self._connection.table(view)).lazy()

    def _parsed_rows(self, logs: Sequence[LogFile], layout: Layout) -> str:
        """Parse texts, unless that is done, and return the name of their rows."""
        before, known = self._parsed or ((), None)
        if layout != known or not set(logs) <= set(before):
            self._parse(logs, layout, with_files=layout.step is None)
        elif len(logs) < len(before):
            # Names are DuckDB's spelling of paths.
            names = self._connection.execute("SELECT unnest(enum_range(NULL::files))").fetchall()
            asked = {Path(log.path).resolve() for log in logs}
            listed = ", ".join(quoted(name) for (name,) in names if Path(name).resolve() in asked)
            kept = f"SELECT * FROM rollouts WHERE file_name IN ({listed})"
            self._connection.execute(f"CREATE TEMP VIEW chosen AS {kept}")
            return "chosen"
        return "rollouts"

    def _parse(self, logs: Sequence[LogFile], layout: Layout, *, with_files: bool) -> None:
        """Parse texts once, by the fastest reading that they allow."""
        import duckdb

        stored, constant = stored_columns(layout, with_files=with_files)
        broken = "SELECT 1 FROM parsed WHERE reason = 'malformed-row' LIMIT 1"
        self._connection.execute("DROP VIEW IF EXISTS rollouts")
        self._connection.execute("DROP TABLE IF EXISTS parsed")
        if with_files:
            # One byte for each row's file, where there are not many.
            self._connection.execute("DROP TYPE IF EXISTS files")
            named = f"SELECT DISTINCT file FROM glob({file_list([log.path for log in logs])})"
            self._connection.execute(f"CREATE TYPE files AS ENUM ({named})")
        self._limit_memory(MEMORY_LIMIT)
        readings: tuple[Reading, ...] = get_args(Reading)
        lines = any(log.format == "jsonl" for log in logs)
        for reading in readings if lines else readings[1:]:
            if reading == "broken":
                # Parsing keeps buffers as long as the longest record, however many rows there are.
                self._limit_memory(self._generous_limit)
            try:
                query = self._query(logs, layout, reading)
                table = f"CREATE OR REPLACE TEMP TABLE parsed AS SELECT {stored} FROM ({query})"
                self._within_memory(partial(self._connection.execute, table))
                if reading == "broken" or not self._connection.execute(broken).fetchall():
                    break
            except duckdb.Error:
                if reading == "broken":
                    with _duckdb_errors(logs):
                        raise
        self._connection.execute(f"CREATE TEMP VIEW rollouts AS SELECT *{constant} FROM parsed")
        self._parsed = (tuple(logs), layout)

    def _query(self, logs: Sequence[LogFile], layout: Layout, reading: Reading) -> str:
        return hashed_prompts(
            " UNION ALL BY NAME ".join(
                self._select(kind, group, layout, reading, evaluation=evaluation)
                for (kind, evaluation), group in _by_source(logs).items()
            )
        )

    def _select(
        self,
        kind: Format,
        logs: Sequence[LogFile],
        layout: Layout,
        reading: Reading,
        *,
        evaluation: bool,
    ) -> str:
        dialect = DuckDBDialect()
        if kind == "parquet":
            source = f"(SELECT *, false AS malformed FROM {_table(kind, logs)})"
            return normalised(layout, dialect, self.columns(logs), source, evaluation=evaluation)
        if kind == "csv":
            table = _table(kind, logs, sound=reading != "broken")
            rows = self._connection.execute(f"DESCRIBE SELECT * FROM {table}").fetchall()
            types = {name: "VARCHAR" for name, *_ in rows if name != "file_name"}
            source = f"(SELECT *, false AS malformed FROM {table})"
            return normalised(layout, dialect, types, source, evaluation=evaluation)
        fields = _once_per_column(layout.fields())
        types = {field_column(field): "VARCHAR" for field in fields}
        if reading != "broken" and kind == "jsonl" and not any(field.inner for field in fields):
            if reading == "numbers":
                types |= {field.name: "DOUBLE" for field in layout.numbers()}
            columns = {dialect.identifier(name): found for name, found in types.items()}
            listed = ", ".join(f"{column}: '{found}'" for column, found in columns.items())
            nothing = " AND ".join(f"{column} IS NULL" for column in columns)
            table = typed_json_table([log.path for log in logs], listed)
            source = f"(SELECT *, {nothing} AS malformed, filename AS file_name FROM {table})"
            return normalised(layout, dialect, types, source, evaluation=evaluation)
        paths = ", ".join(dialect.json_path(field) for field in fields)
        named = "".join(
            f", found[{index + 1}] AS {dialect.identifier(field_column(field))}"
            for index, field in enumerate(fields)
        )
        source = f"""(SELECT malformed, file_name{named} FROM (
            SELECT json IS NULL OR json_type(json) <> 'OBJECT' AS malformed, file_name,
                   json_extract_string(json, [{paths}]) AS found
            FROM {_table(kind, logs)}))"""
        return normalised(layout, dialect, types, source, evaluation=evaluation)

    def fetch(self, frame: nw.LazyFrame[Any]) -> list[dict[str, Any]]:
        """Return the rows of a small result."""
        return self._run(lambda: fetch_duckdb(frame.to_native()))

    def keep(self, frame: nw.LazyFrame[Any]) -> nw.LazyFrame[Any]:
        """Compute a frame once, into a table on disk."""
        import narwhals as nw

        self._kept += 1
        name = f"kept_{self._kept}"
        query = f"CREATE TEMP TABLE {name} AS {frame.to_native().sql_query()}"
        self._run(lambda: self._connection.execute(query))
        return nw.from_native(self._connection.table(name)).lazy()

    def _limit_memory(self, limit: str) -> None:
        self._connection.execute(f"SET memory_limit = {quoted(limit)}")

    def _run(self, work: Callable[[], Result]) -> Result:
        with _duckdb_errors(()):
            return self._within_memory(work)

    def _within_memory(self, work: Callable[[], Result]) -> Result:
        """Run a query; once more with DuckDB's own limit where rows of megabytes need it."""
        import duckdb

        try:
            return work()
        except duckdb.OutOfMemoryException:
            self._limit_memory(self._generous_limit)
            return work()


def contents_of(records: Iterable[Any]) -> dict[str, Contents]:
    """Return the rows of :func:`~rlhf_budget.calibrate.logs.sql.file_contents`, by file."""
    return {
        str(Path(name).resolve()): Contents(Rows(int(count), int(key)), bool(telling))
        for name, count, key, telling in records
    }


def fetch_duckdb(relation: Any) -> list[dict[str, Any]]:
    """Return the rows of a DuckDB relation."""
    names, rows = list(relation.columns), relation.fetchall()
    return [dict(zip(names, row, strict=True)) for row in rows]


@contextmanager
def _duckdb_errors(logs: Sequence[LogFile]) -> Iterator[None]:
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        where = f"{logs[0].path}: " if len(logs) == 1 else ""
        first_line = str(error).strip().splitlines()[0]
        raise FileAccessError(f"{where}the logs cannot be read: {first_line}") from error


def _table(kind: Format, logs: Sequence[LogFile], *, sound: bool = False) -> str:
    return file_table(kind, [log.path for log in logs], sound=sound)


def _once_per_column(fields: Sequence[Field]) -> list[Field]:
    """Drop a field that another role reads in another way from the same column."""
    return list({field_column(field): field for field in fields}.values())


@contextmanager
def _spark_errors() -> Iterator[None]:
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        yield
    except (PySparkException, Py4JError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise FileAccessError(f"Spark cannot read the logs: {first_line}") from error


class SparkEngine:
    """The active Spark session, or a new one."""

    def __init__(self) -> None:
        from pyspark.sql import SparkSession

        try:
            self._session = SparkSession.builder.appName("rlhf-budget").getOrCreate()
        except Exception as error:
            raise CalibrationError(f"Spark does not start (is there a Java?): {error}") from error
        master = self._session.conf.get("spark.master", "")
        self.sees_local_files = str(master).startswith("local")

    def columns(self, logs: Sequence[LogFile]) -> dict[str, str]:
        """Return the names and types of the columns of parquet files."""
        with _spark_errors():
            return dict(self._parquet(logs).dtypes)

    def read(self, logs: Sequence[LogFile], layout: Layout) -> nw.LazyFrame[Any]:
        """Return the rows of all files in the columns that the aggregates read."""
        import narwhals as nw

        with _spark_errors():
            frames = [
                self._normalised(kind, group, layout, evaluation=evaluation)
                for (kind, evaluation), group in _by_source(logs).items()
            ]
        rows = frames[0]
        for other in frames[1:]:
            rows = rows.unionByName(other)
        united: nw.LazyFrame[Any] = nw.from_native(rows).lazy()
        return united

    def contents(self, logs: Sequence[LogFile], layout: Layout) -> dict[str, Contents]:
        """Return what each file holds, by its path."""
        frame = self.read(logs, layout).to_native()
        frame.createOrReplaceTempView("rlhf_budget_every")
        query = file_contents("TABLE rlhf_budget_every", SparkDialect())
        with _spark_errors():
            records = self._session.sql(query).collect()
        return contents_of((unquote(urlsplit(name).path), *rest) for name, *rest in records)

    def _parquet(self, logs: Sequence[LogFile]) -> Any:
        paths = [log.path for log in logs]
        return self._session.read.option("mergeSchema", "true").parquet(*paths)

    def _normalised(
        self, kind: Format, logs: Sequence[LogFile], layout: Layout, *, evaluation: bool
    ) -> Any:
        from pyspark.sql import functions as F  # noqa: N812 (Spark's own name for it)

        paths = [log.path for log in logs]
        if kind in {"parquet", "csv"}:
            if kind == "parquet":
                frame = self._parquet(logs)
            else:
                frame = self._session.read.option("header", "true").csv(paths)
            types = dict(frame.dtypes)
            frame = frame.withColumn("malformed", F.lit(False))  # noqa: FBT003 (a literal)
        else:
            frame, types = self._json(kind, paths, layout)
        frame = frame.withColumn("file_name", F.input_file_name())
        view = f"rlhf_budget_{kind}_{int(evaluation)}"
        frame.createOrReplaceTempView(view)
        return self._session.sql(
            normalised(layout, SparkDialect(), types, view, evaluation=evaluation)
        )

    def _json(self, kind: Format, paths: list[str], layout: Layout) -> tuple[Any, dict[str, str]]:
        dialect = SparkDialect()
        if kind == "jsonl":
            lines = self._session.read.text(paths).where("trim(value) <> ''")
        else:
            whole = self._session.read.text(paths, wholetext=True)
            lines = whole.selectExpr("explode(from_json(value, 'array<string>')) AS value")
        fields = _once_per_column(layout.fields())
        named = [
            f"get_json_object(value, {dialect.json_path(field)})"
            f" AS {dialect.identifier(field_column(field))}"
            for field in fields
        ]
        malformed = (
            "(get_json_object(value, '$') IS NULL OR trim(value) NOT LIKE '{%') AS malformed"
        )
        return lines.selectExpr(malformed, *named), {field_column(f): "STRING" for f in fields}

    def fetch(self, frame: nw.LazyFrame[Any]) -> list[dict[str, Any]]:
        """Return the rows of a small result."""
        with _spark_errors():
            return [row.asDict() for row in frame.to_native().collect()]

    def keep(self, frame: nw.LazyFrame[Any]) -> nw.LazyFrame[Any]:
        """Compute a frame once and cache it."""
        import narwhals as nw

        kept: nw.LazyFrame[Any] = nw.from_native(frame.to_native().cache()).lazy()
        return kept
