"""How a service starts, is told to stop, and fails with one clear line."""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType

from jobs.runtime.errors import InfrastructureError
from jobs.runtime.logs import configure_logging
from jobs.runtime.settings import SettingsRefusedError

__all__ = ["EXIT_INFRASTRUCTURE", "EXIT_SETTINGS", "configure_logging", "run_main", "stop_on_signals"]

#: Signals this close together are one wish.
SAME_SIGNAL_S = 1.0
#: A setting was refused: nothing was started.
EXIT_SETTINGS = 2
#: Java, jars, broker or topics are missing: the line on stderr says what to do.
EXIT_INFRASTRUCTURE = 3
#: What a shell reports of a command ended by Ctrl-C.
EXIT_INTERRUPTED = 130


def stop_on_signals() -> threading.Event:
    """Return an event that SIGTERM or SIGINT sets; a second one, a while later, ends the process at once.

    Supervisors that signal a process and its group as well send two at a time: they count as one.

    Call it in the main thread, and after a Spark session has been made: the session installs a SIGINT
    handler of its own, which would take this one's place.
    """
    stop, told_s = threading.Event(), math.inf

    def on_signal(number: int, _frame: FrameType | None) -> None:
        nonlocal told_s
        if time.monotonic() - told_s > SAME_SIGNAL_S:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        told_s = min(told_s, time.monotonic())
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    return stop


def run_main(main: Callable[[Sequence[str]], int], argv: Sequence[str]) -> int:
    """Run a service's main; an expected failure becomes its text on stderr and an exit code.

    Returns
    -------
    int
        What ``main`` returned; 2 when a setting was refused, 3 when something the job needs is
        missing (Java, jars, broker, topics), 130 when it was interrupted.

    """
    try:
        return main(argv)
    except SettingsRefusedError as refused:
        return _fail(str(refused), EXIT_SETTINGS)
    except InfrastructureError as missing:
        return _fail(str(missing), EXIT_INFRASTRUCTURE)
    except KeyboardInterrupt:
        return _fail("interrupted", EXIT_INTERRUPTED)


def _fail(text: str, code: int) -> int:
    for line in text.splitlines():
        sys.stderr.write(f"tweetoscope: {line}\n")
    return code
