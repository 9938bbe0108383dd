"""The command ``tweetoscope``: one word names the service, the rest are its flags."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from jobs.runtime.lifecycle import EXIT_SETTINGS, run_main

#: Word, module with its ``main``, and what it does.
COMMANDS = {
    "demo": ("jobs.demo", "run everything on simulated or given cascades, then sum up"),
    "generate": ("jobs.generate", "send cascades as tweets, simulated or from files"),
    "collect": ("jobs.collect", "tweets → partial cascades and final sizes"),
    "estimate": ("jobs.estimate", "partial cascades → Hawkes parameters and features"),
    "predict": ("jobs.predict", "parameters × model → alerts;  alerts ⋈ sizes → stats and samples"),
    "train": ("jobs.train", "samples → models"),
    "monitor": ("jobs.monitor", "stats → metrics of the errors"),
    "dashboard": ("jobs.dashboard", "alerts → metrics of the hottest posts, and a live board"),
    "broker": ("jobs.runtime.broker_command", "start, stop or look at the embedded Kafka broker"),
    "topics": ("jobs.runtime.topics_table", "create the topics that are missing and list all"),
    "settings": ("jobs.runtime.settings", "print the settings in force, secrets hidden"),
}


def usage() -> str:
    """Return the list of commands."""
    lines = [f"  {name:<10} {meaning}" for name, (_, meaning) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: tweetoscope COMMAND [--section.key VALUE ...]",
            "",
            *lines,
            "",
            "tweetoscope COMMAND --help lists a command's flags; every setting is one.",
            "",
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the first word names; return its exit code.

    0 done, 1 failed, 2 refused (a flag, a setting, an unknown command), 3 something needed is missing (Java,
    jars, broker), 130 interrupted.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in {"-h", "--help", "help"}:
        sys.stdout.write(usage())
        return 0 if words else EXIT_SETTINGS
    if words[0] not in COMMANDS:
        sys.stderr.write(f"tweetoscope: there is no command {words[0]!r}\n\n{usage()}")
        return EXIT_SETTINGS
    module = import_module(COMMANDS[words[0]][0])
    return run_main(module.main, words[1:])


if __name__ == "__main__":
    sys.exit(main())
