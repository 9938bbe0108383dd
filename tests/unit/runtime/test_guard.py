import signal
import subprocess
import sys

import psutil
import pytest

from jobs.runtime import guard

LIMIT_S = 30
OBEYS = "import threading; print('up', file=__import__('sys').stderr, flush=True); threading.Event().wait()"
REFUSES = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + OBEYS
#: Starts a guard and hands its own standard input's fate to it, then waits to be killed.
PARENT = """
import subprocess, sys
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
print(child.stdout.readline().strip(), flush=True)
sys.stdin.read()
"""


def guarded(script, grace_s="10"):
    return [sys.executable, "-I", guard.__file__, grace_s, sys.executable, "-c", script]


def start(command):
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    command = psutil.Process(int(process.stdout.readline()))
    assert process.stderr.readline() == "up\n"
    return process, command


def assert_ends(process):
    assert psutil.wait_procs([process], timeout=LIMIT_S)[1] == []


@pytest.mark.parametrize("script", [OBEYS, REFUSES])
def test_the_command_ends_when_standard_input_does(script):
    process, command = start(guarded(script, "0.2"))
    process.communicate(timeout=LIMIT_S)
    assert not command.is_running()


def test_the_command_ends_when_its_parent_is_killed():
    parent, command = start([sys.executable, "-c", PARENT, *guarded(OBEYS)])
    parent.kill()
    assert_ends(command)
    parent.communicate(timeout=LIMIT_S)


def test_the_command_ends_when_the_guard_is_told_to():
    process, command = start(guarded(OBEYS))
    process.send_signal(signal.SIGTERM)
    assert process.wait(LIMIT_S) == -signal.SIGTERM % 256
    assert not command.is_running()
    process.communicate()


def test_the_guard_ends_with_the_commands_exit_code():
    with subprocess.Popen(
        guarded("raise SystemExit(7)"), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as process:
        assert process.wait(LIMIT_S) == 7
