"""Find a Java that runs Spark and Kafka. Standard library only: set-up asks before anything is installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from jobs.runtime.errors import InfrastructureError

#: Spark 4 and Kafka 4 are compiled for it.
OLDEST_JAVA = 17
ADVICE = (
    f"install Java {OLDEST_JAVA} or 21 (Debian, Ubuntu: apt-get install openjdk-17-jre-headless; "
    "macOS: brew install openjdk@17), or set JAVA_HOME to one"
)


class JavaError(InfrastructureError):
    """There is no Java, or it is too old."""


def find_java() -> Path:
    """Return the ``java`` of JAVA_HOME, else of PATH.

    Raises
    ------
    JavaError
        None is found, it does not run, or it is older than 17; the text says what to install.

    """
    home = os.environ.get("JAVA_HOME")
    found = str(Path(home, "bin", "java")) if home else shutil.which("java")
    if not found:
        raise JavaError(f"no Java found: {ADVICE}")
    try:
        asked = subprocess.run([found, "-version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        raise JavaError(f"{found} does not run{' (JAVA_HOME)' if home else ''}: {ADVICE}") from None
    version = java_version(asked.stderr + asked.stdout)
    if version < OLDEST_JAVA:
        raise JavaError(f"{found} is {'of no known version' if version < 0 else f'Java {version}'}: {ADVICE}")
    return Path(found)


def java_version(text: str) -> int:
    """Return the feature release in what ``java -version`` printed, -1 when there is none.

    >>> java_version('openjdk version "17.0.15" 2025-04-15')
    17
    >>> java_version('java version "1.8.0_402"')
    8
    >>> java_version('openjdk version "25" 2025-09-16')
    25
    """
    match = re.search(r'version "(?:1\.)?(\d+)', text)
    return int(match.group(1)) if match else -1


def main() -> int:
    """Say in one line whether Java will do."""
    try:
        find_java()
    except JavaError as error:
        sys.stderr.write(f"tweetoscope: {error}\n")
        return 3
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
