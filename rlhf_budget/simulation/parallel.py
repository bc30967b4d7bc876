"""Worlds tried in this process or in several; the results do not depend on how many."""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from rlhf_budget.errors import Problem, RlhfBudgetError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from concurrent.futures import Future

    from rlhf_budget.scenario.models import Scenario

Record = TypeVar("Record")


def untriable(scenario: Scenario) -> list[Problem]:
    """Return why no study can try a scenario."""
    problems = []
    if scenario.budget is None:
        problems.append(Problem("budget", "nothing", "a number above 0"))
    if scenario.progress is not None:
        allowed = "no progress: worlds begin at the beginning (--set progress=null)"
        problems.append(Problem("progress", "a run under way", allowed))
    return problems


def try_worlds(
    try_world: Callable[[np.random.SeedSequence], Record],
    *,
    worlds: int,
    seed: int,
    jobs: int,
    on_world: Callable[[int], None] | None,
) -> dict[int, Record]:
    """Try every world; an interruption keeps those that are done.

    Parameters
    ----------
    try_world
        Tries the world of a seed. It must be picklable: a function of a module, or a ``partial``.
    worlds, seed, jobs, on_world
        As of :func:`rlhf_budget.simulate`; each world's seed is spawned from the ``seed``.

    Returns
    -------
    dict
        World number to record, in the order of the numbers.

    Raises
    ------
    KeyboardInterrupt
        When interrupted before the first world is done.
    """
    seeds = np.random.SeedSequence(seed).spawn(worlds)
    jobs = min(jobs, worlds)
    # A generator, so that an interruption lands where the records are kept.
    here = ((index, try_world(seed)) for index, seed in enumerate(seeds))
    source = here if jobs == 1 else _apart(try_world, seeds, jobs)
    records: dict[int, Record] = {}
    with contextlib.suppress(KeyboardInterrupt), contextlib.closing(source):
        for index, record in source:
            records[index] = record
            if on_world is not None:
                on_world(len(records))
    if not records:
        raise KeyboardInterrupt
    return dict(sorted(records.items()))


def _apart(
    try_world: Callable[[np.random.SeedSequence], Record],
    seeds: list[np.random.SeedSequence],
    jobs: int,
) -> Generator[tuple[int, Record]]:
    import multiprocessing  # noqa: PLC0415 - start-up time
    from concurrent.futures import ProcessPoolExecutor, as_completed  # noqa: PLC0415 - the same
    from concurrent.futures.process import BrokenProcessPool  # noqa: PLC0415 - the same

    # A forked copy of a process with threads (a progress bar, BLAS) may hang: start afresh.
    context = multiprocessing.get_context("spawn")
    # Ctrl-C is left to the parent, which then keeps what is done.
    leave_to_parent = (signal.SIGINT, signal.SIG_IGN)
    executor = ProcessPoolExecutor(
        jobs, mp_context=context, initializer=signal.signal, initargs=leave_to_parent
    )
    try:
        with _interrupts_held():
            places: dict[Future[Record], int] = {
                executor.submit(try_world, seed): index for index, seed in enumerate(seeds)
            }
        for future in as_completed(places):
            yield places.pop(future), future.result()
    except BrokenProcessPool as error:
        message = "a simulating process ended abruptly, perhaps for want of memory: try --jobs 1"
        raise RlhfBudgetError(message) from error
    finally:
        # Waiting keeps the executor alive until its thread has seen that the rest is cancelled.
        executor.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back while processes start, which inherit this and so print no traceback."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
