"""Write calibrated constants and their sources into a scenario file, and touch nothing else.

What changes is decided by the rules by which scenarios merge; how it is written is decided by
:mod:`~rlhf_budget.calibrate.into.yaml_edit`, which replaces the text of single values. The result
is read back before anybody sees it.
"""

from __future__ import annotations

import difflib
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlhf_budget.calibrate.into.fragment import has_path
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
    try:
        as_wanted = read_yaml(after, None).values == wanted
    except ScenarioError:
        as_wanted = False
    if not as_wanted:
        raise CalibrationError(f"{path} cannot be edited in place; paste the constants by hand")
    known = {problem.key for problem in _problems(path, written)}
    new = tuple(problem for problem in _problems(path, wanted) if problem.key not in known)
    if new:
        raise ScenarioError(new)
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
            given = None if estimate.sample_size else estimate.note
            text = f"{command} {given or files or 'data in memory'}"
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


def _fitting(
    fragment: Fragment, written: Mapping[str, Any]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the constants that the scenario has room for, and why others are left out."""
    patch = deepcopy(fragment)
    left_out = []
    rollout = _section(patch, "costs").get("rollout")
    if isinstance(rollout, dict) and "tokens" not in _section(
        _section(written, "costs"), "rollout"
    ):
        del patch["costs"]["rollout"]
        left_out.append("costs.rollout.tokens: the scenario gives rollouts a price, not a length")
    return {name: section for name, section in patch.items() if section != {}}, tuple(left_out)


def _section(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    section = values.get(name)
    return section if isinstance(section, dict) else {}


def _merged(
    written: dict[str, Any], patch: dict[str, Any], sources: Mapping[str, str]
) -> dict[str, Any]:
    from rlhf_budget.scenario.merge import merge_scenario

    result = merge_scenario(written, patch)
    constants = set(_paths(patch))
    kept = {}
    for key, text in _section(written, "sources").items():
        steps = key.split(".")
        gone = has_path(written, steps) and not has_path(result, steps)
        above = len(steps) > _SECTION_DEPTH and any(c.startswith(f"{key}.") for c in constants)
        if not (gone or above):  # else it speaks of a value that is gone
            kept[key] = text
    kept |= {key: text for key, text in sources.items() if key in constants}
    if kept:
        result["sources"] = kept
    else:
        result.pop("sources", None)
    return result


def _paths(values: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Yield the key paths of all leaves."""
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _paths(value, f"{above}{name}.")
        else:
            yield f"{above}{name}"


def _problems(path: Path, values: dict[str, Any]) -> tuple[Problem, ...]:
    from rlhf_budget.scenario import load_scenario

    # File names in a scenario are relative to where it is, those of a mapping to here.
    result = dict(values)
    if isinstance(values.get("extends"), str):
        result["extends"] = str(path.parent / values["extends"])
    log_ratio = _section(values, "log_ratio")
    if isinstance(log_ratio.get("file"), str):
        result["log_ratio"] = {**log_ratio, "file": str(path.parent / log_ratio["file"])}
    try:
        load_scenario(result)
    except ScenarioError as error:
        return error.problems
    return ()
