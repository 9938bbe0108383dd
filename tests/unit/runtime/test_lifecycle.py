import json
import logging
import os
import signal
import subprocess
import sys

import pytest

from jobs.runtime.knobs import Logs
from jobs.runtime.lifecycle import configure_logging, run_main, stop_on_signals
from jobs.runtime.logs import JsonFormatter, TextFormatter
from jobs.runtime.settings import Settings, SettingsRefusedError
from jobs.runtime.topics import TopicError


def fail_with(error):
    def main(_argv):
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingsRefusedError("a.b: wrong\nc.d: wrong too"), 2),
        (TopicError("start one"), 3),
        (KeyboardInterrupt(), 130),
    ],
)
def test_an_expected_failure_is_a_line_and_an_exit_code(capsys, error, code):
    assert run_main(fail_with(error), []) == code
    lines = capsys.readouterr().err.splitlines()
    assert [line.removeprefix("tweetoscope: ") for line in lines] == (
        str(error) or "interrupted"
    ).splitlines()


def test_a_programmers_error_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run_main(fail_with(ZeroDivisionError()), [])


def test_the_exit_code_of_a_service_is_passed_on():
    assert run_main(len, ["a", "b"]) == 2


@pytest.fixture
def _own_handlers():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_own_handlers")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_first_signal_asks_to_stop(number):
    stop = stop_on_signals()
    assert not stop.is_set()
    os.kill(os.getpid(), number)
    assert stop.wait(5)


SCRIPT = (
    "from jobs.runtime import lifecycle\n"
    "lifecycle.SAME_SIGNAL_S = {same_s}\n"
    "stop = lifecycle.stop_on_signals(); print('up', flush=True)\n"
    "stop.wait(); print('told', flush=True)\n"
    "import threading; threading.Event().wait({wait_s})"
)


def start(same_s, wait_s):
    script = SCRIPT.format(same_s=same_s, wait_s=wait_s)
    return subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)


def test_a_second_signal_ends_the_process():
    with start(same_s=0, wait_s=None) as process:
        for said in ("up", "told"):
            assert process.stdout.readline().strip() == said
            process.terminate()
        assert process.wait(30) == -signal.SIGTERM


def test_two_signals_at_once_are_one():
    with start(same_s=60, wait_s=0.5) as process:
        for said in ("up", "told"):
            assert process.stdout.readline().strip() == said
            process.terminate()
        assert process.wait(30) == 0


def record(message, **extra):
    return logging.getLogger("jobs.test").makeRecord(
        "jobs.test", logging.INFO, "f", 1, message, (), None, extra=extra
    )


def test_text_logs_are_one_line_of_key_and_value():
    line = TextFormatter().format(record("window\nclosed", cid="a b", window_s=600, ARE=0.123456789))
    assert line.endswith("INFO jobs.test: window\\nclosed cid='a b' window_s=600 ARE=0.123457")


def test_json_logs_are_an_object_a_line():
    line = JsonFormatter("collect").format(record("closed", window_s=600, path=os))
    fields = json.loads(line)
    assert (fields["service"], fields["message"], fields["window_s"]) == ("collect", "closed", 600)
    assert "\n" not in line


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter("collect")])
def test_what_people_wrote_is_never_logged(formatter):
    assert "secret love" not in formatter.format(record("refused", text="secret love", value=b"secret love"))


def test_logging_configured_twice_writes_each_record_once(capsys):
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        for _ in range(2):
            configure_logging(Settings(logs=Logs(level="WARNING", format="json")), "collect")
        logging.getLogger("jobs.test").info("quiet")
        logging.getLogger("jobs.test").warning("loud")
    finally:
        logging.captureWarnings(capture=False)
        root.handlers[:], root.level = before, level
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["message"] == "loud"
