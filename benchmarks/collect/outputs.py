"""What systems sent, read back and compared as sets."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

#: Numbers are equal to this many digits after the point.
DIGITS = 6


def remove(folder: Path) -> None:
    """Remove what an earlier run wrote."""
    shutil.rmtree(folder, ignore_errors=True)


def values_of_parquet(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the values a query wrote into parquet files."""
    for path in sorted(folder.glob("*.parquet")):
        for value in pq.read_table(path, columns=["value"])["value"].to_pylist():
            yield json.loads(value)


def values_of_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the values of a file with one a line, alone or in a field ``value``."""
    for line in path.read_text("utf-8").splitlines():
        value = json.loads(line)
        if isinstance(inner := value.get("value"), str):
            value = json.loads(inner)
        yield value if isinstance(inner, str | type(None)) else inner


def outcome(values: Iterable[dict[str, Any]]) -> dict[str, Counter[str]]:
    """Return partials, sizes, and letters by reason, each value as a canonical text with its count."""
    found: dict[str, Counter[str]] = {"serie": Counter(), "size": Counter(), "letter": Counter()}
    for value in values:
        if value.get("type") in {"serie", "size"}:
            found[value["type"]][_canonical(value)] += 1
        else:
            found["letter"][str(value.get("reason"))] += 1
    return found


def compare(
    ours: dict[str, Counter[str]], theirs: dict[str, Counter[str]], *, letters: bool = True
) -> dict[str, Any]:
    """Tell whether two systems sent the same, how much, and an example of what differs."""
    kinds = ("serie", "size", "letter") if letters else ("serie", "size")
    result: dict[str, Any] = {"identical": all(ours[kind] == theirs[kind] for kind in kinds)}
    result |= {"partials": sum(ours["serie"].values()), "sizes": sum(ours["size"].values())}
    result["letters"] = sum(ours["letter"].values())
    for kind in kinds:
        for name, only in (("ours", ours[kind] - theirs[kind]), ("theirs", theirs[kind] - ours[kind])):
            if only:
                result[f"{kind}_only_{name}"] = [sum(only.values()), sorted(only)[0][:400]]
    return result


def _canonical(value: dict[str, Any]) -> str:
    """Write a value with rounded numbers and its tweets in order."""
    if "tweets" in value:
        value = value | {"tweets": sorted(value["tweets"])}
    return json.dumps(_rounded(value), sort_keys=True)


def _rounded(value: Any) -> Any:
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return round(float(value), DIGITS) + 0.0
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return {key: _rounded(item) for key, item in value.items()}
