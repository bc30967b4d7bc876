"""The console: dictionaries (TRL, Unsloth, Hugging Face), and verl's ``step:N - key:value``.

Progress bars, prefixes of processes and other lines stand between and before them.
"""

from __future__ import annotations

import re

from rlhf_budget.calibrate.logs.metrics.records import is_evaluation, is_training_log

_NUMBER = r"[-+]?\d[\d_.]*(?:[eE][-+]?\d+)?"
_TYPED = r"(?:[A-Za-z][\w.]*\()?"  # np.float64(0.5)
_DICTIONARY = re.compile(r"\{[^{}]*\}")
_ENTRY = re.compile(rf"""['"]([^'"]+)['"]\s*:\s*['"]?{_TYPED}({_NUMBER})""")
_STEP_LINE = re.compile(r"\bstep:\d+ - .*")
_STEP_ENTRY = re.compile(rf"^(\S+?):{_TYPED}({_NUMBER})\)?$")


def read_console(text: str) -> list[dict[str, str]]:
    """Return the records that lines of a console's text hold, as texts of numbers."""
    records = []
    for line in re.split(r"[\r\n]+", text):
        if (step_line := _STEP_LINE.search(line)) is not None:
            entries = (_STEP_ENTRY.match(part) for part in step_line.group().split(" - "))
            records.append({entry[1]: entry[2] for entry in entries if entry})
            continue
        for dictionary in _DICTIONARY.findall(line):
            record = dict(_ENTRY.findall(dictionary))
            if is_training_log(record) or is_evaluation(record):
                records.append(record)
    return records
