"""The worker: one background process that trains one run and writes down what happens.

`python -P -m engine.runs.worker RUN_DIR`, with RUN_DIR as working directory. `-P` matters: a
stray `engine/` in the current folder must not be imported.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from pathlib import Path

from engine import factory
from engine.core.errors import UserError
from engine.runs.compile_ahead import CompileAhead
from engine.runs.disk.lock import RunLock
from engine.runs.session import MakeLearner, Session
from engine.runs.store import RunWriter
from engine.tabular.custom import trust

log = logging.getLogger("icemaze.worker")


def main(arguments: list[str], make_learner: MakeLearner = factory.make_learner) -> int:
    """Carry out the run in the folder `arguments[0]`. Exit status: 0, or 1 when it failed."""
    parser = argparse.ArgumentParser(prog="engine.runs.worker")
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--lock-fd", type=int, help="descriptor of the inherited lock")
    parser.add_argument("--trust", help="SHA-256 of the code that may be run, said yes to before")
    options = parser.parse_args(arguments)
    os.umask(0o077)  # what is in a run is its owner's business
    if options.trust:
        trust.for_now(options.trust)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr, force=True
    )
    # Set before anything slow, so that a signal during the imports of a learner is kept in mind.
    early: list[int] = []
    session: Session | None = None

    def stop(signal_number: int, _frame: object) -> None:
        early.append(signal_number)
        if session is not None:
            session.stop_asked = True

    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        lock = _lock(options.run_dir, options.lock_fd)
        writer = RunWriter(options.run_dir)
        writer.set_meta(pid=os.getpid())
        writer.commit()  # the launcher waits for this sign of life
    except UserError as error:
        log.error("%s", error)
        return 1
    session = Session(writer, make_learner, ahead=CompileAhead())
    if early:
        session.stop_asked = True
    succeeded = session.run()
    writer.close()
    lock.close()
    return 0 if succeeded else 1


def _lock(run_dir: Path, descriptor: int | None) -> RunLock:
    lock = None if descriptor is None else RunLock.adopt(descriptor, run_dir)
    lock = lock or RunLock.take(run_dir)
    if lock is None:
        raise UserError(f"{run_dir}: another worker is at this run.")
    return lock


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
