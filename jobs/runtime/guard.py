"""Run a command that must not outlive the process that started it. Standard library only, run as a script.

``guard.py GRACE_S COMMAND…``: the command's process id is printed on stdout, its output goes to stderr.
It is told to stop (SIGTERM, then SIGKILL after GRACE_S seconds) when standard input ends, which the
operating system sees to when the parent dies in whatever way, or when the parent is another one.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from types import FrameType

#: Seconds between two looks at the command and the parent.
LOOK_S = 0.2


def main(argv: Sequence[str]) -> int:
    """Guard one command until it ends; return its exit code."""
    parent, told = os.getppid(), False

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        nonlocal told
        told = True

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    command = subprocess.Popen(list(argv[1:]), stdin=subprocess.DEVNULL, stdout=sys.stderr, stderr=sys.stderr)
    try:
        sys.stdout.write(f"{command.pid}\n")
        sys.stdout.flush()
    except OSError:
        told = True
    while command.poll() is None:
        ended = told or bool(select.select([0], [], [], LOOK_S)[0])
        if ended or os.getppid() != parent:
            return _end(command, float(argv[0]))
    return command.returncode


def _end(command: subprocess.Popen[bytes], grace_s: float) -> int:
    command.terminate()
    try:
        return command.wait(grace_s)
    except subprocess.TimeoutExpired:
        command.kill()
        return command.wait()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
