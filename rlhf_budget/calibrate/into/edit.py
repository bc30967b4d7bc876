"""Write calibrated constants and their sources into a scenario file, and touch nothing else.

What changes is decided by the rules by which scenarios merge; how it is written is decided by
:mod:`~rlhf_budget.calibrate.into.yaml_edit`, which replaces the text of single values. The result
is read back before anybody sees it.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlhf_budget.errors import CalibrationError, FileAccessError, Problem, ScenarioError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rlhf_budget.calibrate.estimates import Calibration, Fragment

_SECTION_DEPTH = 1
"""Key paths this short are sections, whose sources speak of more than one constant."""


@dataclass(frozen=True, slots=True)
class ScenarioEdit:
    """A change of a scenario file that has not been made yet."""

    path: Path
    """The file."""
    before: str
    """Its text now."""
    after: str
    """Its text with the constants."""
    displaced: tuple[str, ...]
    """Key paths that stand in the file now and give way, such as ``reward_model.chi2``."""
    left_out: tuple[str, ...]
    """Constants that were not written, each with the reason."""

    @property
    def changes(self) -> bool:
        """Whether anything would change."""
        return self.before != self.after

    def difference(self) -> str:
        """Return the change as a unified diff."""
        lines = difflib.unified_diff(
            self.before.splitlines(keepends=True),
            self.after.splitlines(keepends=True),
            str(self.path),
            f"{self.path} (calibrated)",
        )
        return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)

    def require_unchanged(self) -> None:
        """Raise FileAccessError if the file has changed since it was read."""
        if _text_of(self.path) != self.before:
            raise FileAccessError(f"{self.path} has changed meanwhile; nothing was written")


def edit_scenario(path: str | Path, fragment: Fragment, sources: Mapping[str, str]) -> ScenarioEdit:
    """Prepare a change that puts constants into a scenario file.

    Parameters
    ----------
    path
        The scenario file.
    fragment
        Nested mapping of constants, as :meth:`Calibration.fragment` returns it.
    sources
        Key path of each constant -> where it comes from.

    Returns
    -------
    ScenarioEdit
        Every line without a changed value is as it was, comments included.

    Raises
    ------
    ScenarioError
        If the file is no scenario, or the constants would break it where it was not broken.
    CalibrationError
        If the file's YAML cannot be edited in place, as where a value is shared by an alias.
    FileAccessError
        If it cannot be read.
    MissingExtraError
        Without the extra ``calibrate``.
    """
    from rlhf_budget.calibrate.into.yaml_edit import edit_yaml
    from rlhf_budget.scenario.yaml_source import read_yaml

    path = Path(path)
    before = _text_of(path)
    written = read_yaml(before, str(path)).values
    if not isinstance(written, dict):
        problem = Problem("", "no mapping of keys to values", "a scenario", str(path))
        raise ScenarioError((problem,))
    patch, left_out = _fitting(fragment, written)
    wanted = _merged(written, patch, sources)
    after = edit_yaml(before, wanted)
    if not _reads_as(after, wanted):
        raise CalibrationError(f"{path} cannot be edited in place; paste the constants by hand")
    _require_no_new_problem(path, written, wanted)
    gone = tuple(sorted(set(_paths(written)) - set(_paths(wanted))))
    displaced = tuple(key for key in gone if not key.startswith("sources."))
    return ScenarioEdit(path, before, after, displaced, left_out)


def describe_sources(
    calibration: Calibration, command: str, *, include_unreliable: bool = False
) -> dict[str, str]:
    """Return, for every constant of a calibration's fragment, where it comes from.

    Parameters
    ----------
    calibration
        The result.
    command
        Name of the command, such as ``calibrate costs``.
    include_unreliable
        As for the fragment.
    """
    written = set(_paths(calibration.fragment(include_unreliable=include_unreliable)))
    files = ", ".join(Path(file).name for file in calibration.source.files[:3])
    if len(calibration.source.files) > 3:
        files += f" and {len(calibration.source.files) - 3} more"
    sources = {}
    for estimate in calibration.estimates:
        if estimate.constant in written:
            text = f"{command} {files or 'data in memory'}"
            if estimate.interval is not None:
                low, high = estimate.interval
                text += f"; {calibration.level:.0%} interval {low:.4g} to {high:.4g}"
            if estimate.status == "unreliable":
                text += "; unreliable"
            sources[estimate.constant] = text
    return sources


def _text_of(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        raise ScenarioError(
            (Problem("", "bytes that are no UTF-8", "a text file", str(path)),)
        ) from None
    except OSError as error:
        raise FileAccessError(f"{path}: {error.strerror or error}") from None


def _reads_as(text: str, wanted: dict[str, Any]) -> bool:
    from rlhf_budget.scenario.yaml_source import read_yaml

    try:
        return bool(read_yaml(text, None).values == wanted)
    except ScenarioError:
        return False


def _fitting(
    fragment: Fragment, written: Mapping[str, Any]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the constants that the scenario has room for, and why others are left out."""
    patch = {section: _copied(constants) for section, constants in fragment.items()}
    left_out = []
    rollout = _section(patch, "costs").get("rollout")
    if isinstance(rollout, dict) and "tokens" not in _section(
        _section(written, "costs"), "rollout"
    ):
        del patch["costs"]["rollout"]
        left_out.append("costs.rollout.tokens: the scenario gives rollouts a price, not a length")
    return {name: section for name, section in patch.items() if section != {}}, tuple(left_out)


def _copied(value: Any) -> Any:
    return {name: _copied(inner) for name, inner in value.items()} if _is_dict(value) else value


def _is_dict(value: object) -> bool:
    return isinstance(value, dict)


def _section(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    section = values.get(name)
    return section if isinstance(section, dict) else {}


def _merged(
    written: dict[str, Any], patch: dict[str, Any], sources: Mapping[str, str]
) -> dict[str, Any]:
    from rlhf_budget.scenario.merge import merge_scenario

    result = merge_scenario(written, patch)
    constants = set(_paths(patch))
    kept = {
        key: text
        for key, text in _section(written, "sources").items()
        if not _is_outdated(key, written, result, constants)
    }
    kept |= {key: text for key, text in sources.items() if key in constants}
    if kept:
        result["sources"] = kept
    else:
        result.pop("sources", None)
    return result


def _is_outdated(
    key: str, written: dict[str, Any], result: dict[str, Any], constants: set[str]
) -> bool:
    """Whether the source of a key speaks of a value that is gone."""
    steps = key.split(".")
    gone = _has(written, steps) and not _has(result, steps)
    above = len(steps) > _SECTION_DEPTH and any(c.startswith(f"{key}.") for c in constants)
    return gone or above


def _has(values: Any, steps: list[str]) -> bool:
    for step in steps:
        if not isinstance(values, dict) or step not in values:
            return False
        values = values[step]
    return True


def _paths(values: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Yield the key paths of all leaves."""
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _paths(value, f"{above}{name}.")
        else:
            yield f"{above}{name}"


def _require_no_new_problem(path: Path, written: dict[str, Any], wanted: dict[str, Any]) -> None:
    known = {problem.key for problem in _problems(path, written)}
    new = tuple(problem for problem in _problems(path, wanted) if problem.key not in known)
    if new:
        raise ScenarioError(new)


def _problems(path: Path, values: dict[str, Any]) -> tuple[Problem, ...]:
    from rlhf_budget.scenario import load_scenario

    try:
        load_scenario(_beside(path, values))
    except ScenarioError as error:
        return error.problems
    return ()


def _beside(path: Path, values: dict[str, Any]) -> dict[str, Any]:
    """Return the values with their file names relative to where the scenario is."""
    result = dict(values)
    if isinstance(values.get("extends"), str):
        result["extends"] = str(path.parent / values["extends"])
    log_ratio = _section(values, "log_ratio")
    if isinstance(log_ratio.get("file"), str):
        result["log_ratio"] = {**log_ratio, "file": str(path.parent / log_ratio["file"])}
    return result
