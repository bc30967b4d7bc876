"""Temporary folders: gone at the end, on a signal, and at the next start after a crash."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from rlhf_budget.calibrate.logs.scratch import PREFIX, scratch_folder

HANGING = """
import signal, sys, time
# A shell has what it starts in the background ignore interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)
import rlhf_budget.calibrate.logs.engine as engine
def hang(*_, **__):
    print("reading", flush=True)
    time.sleep(60)
engine.DuckDBEngine.read = hang
from rlhf_budget.cli import main
sys.argv = ["rlhf-budget", *sys.argv[1:]]
main()
"""


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "rows.jsonl"
    row = '{"prompt_id": %d, "reward": %d}\n'
    path.write_text("".join(row % (i // 4, i % 2) for i in range(40)))
    return path


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)],
)
def test_a_signal_leaves_nothing_behind(log, temporary, number, code):
    command = [sys.executable, "-c", HANGING, "calibrate", "rollouts", str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=dict(os.environ)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"reading\n"
        in_use = set(temporary.glob(f"{PREFIX}*"))
        assert in_use
        with scratch_folder() as own:  # a folder in use is nobody's to remove
            assert set(temporary.iterdir()) == {*in_use, own}
        process.send_signal(number)
        assert process.wait() == code
    left = list(temporary.iterdir())
    assert set(left) == (in_use if number == signal.SIGKILL else set())
    with scratch_folder() as own:
        assert list(temporary.iterdir()) == [own]
    assert list(temporary.iterdir()) == []


def test_old_folders_without_a_lock_are_removed_and_young_ones_are_not(temporary):
    old, young, other = (temporary / name for name in (f"{PREFIX}a", f"{PREFIX}b", "other"))
    for folder in (old, young, other):
        folder.mkdir()
    os.utime(old, (time.time() - 1e6,) * 2)
    os.utime(other, (time.time() - 1e6,) * 2)
    with scratch_folder():
        pass
    assert sorted(temporary.iterdir()) == [other, young]


def test_many_at_once_keep_their_folders(temporary):
    """Another run may start at any moment, between the making of a lock and its taking too."""
    code = (
        "from rlhf_budget.calibrate.logs.scratch import scratch_folder\n"
        "for _ in range(400):\n"
        "    with scratch_folder() as folder:\n"
        "        (folder / 'rows').write_bytes(b'x')\n"
        "        assert (folder / 'rows').exists()\n"
    )
    command = [sys.executable, "-c", code]
    processes = [subprocess.Popen(command, env=dict(os.environ)) for _ in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
