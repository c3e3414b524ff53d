"""From telegraf.conf to tag lists: which tags, from where, and what could not be carried over."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from otmirror.telegraf import conf_modbus, conf_opcua
from otmirror.telegraf.conf import Imported, Input, Left, Names, load, mapping, tables
from otmirror.telegraf.template import DEFAULT_TAG, tag_template

COLUMNS = ("tag", "address", "type", "interval_ms", "deadband", "scale", "order")


@dataclass
class Result:
    """The tag lists of a file, and what was left."""

    lists: list[Imported] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)


def read(text: str, template: str = DEFAULT_TAG) -> Result:
    """Make a tag list of every input in a telegraf.conf that has tags the mirror can read.

    Raises:
        ConfigError: the file is not TOML, or the template is none.
    """
    names, whole, result = Names(tag_template(template)), load(text), Result()
    inputs = mapping(whole.get("inputs"))
    number = {"opcua": 0, "modbus": 0}
    for kind in (*conf_opcua.KINDS, "modbus"):
        reader, protocol = (conf_modbus.read, "modbus") if kind == "modbus" else (conf_opcua.read, "opcua")
        for place, table in enumerate(tables(inputs.get(kind)), 1):
            number[protocol] += 1
            found = reader(Input(kind, place, table, whole), number[protocol], names, result.left)
            if found.tags:
                result.lists.append(found)
            else:
                result.left.append(Left(found.where, "none of its tags could be imported"))
    result.left += _others(inputs, whole)
    return result


def _others(inputs: Mapping[str, Any], whole: Mapping[str, Any]) -> list[Left]:
    known = {*conf_opcua.KINDS, "modbus"}
    left = [Left(f"inputs.{kind}", "the mirror reads OPC UA and Modbus only") for kind in inputs if kind not in known]
    for section in ("processors", "aggregators"):
        left += [
            Left(f"{section}.{kind}", "not applied: where it renames, live metrics have other tags")
            for kind in mapping(whole.get(section))
        ]
    return left


def as_csv(found: Imported) -> str:
    """Return a tag list as the text of its file, without the columns nobody needs."""
    rows = [_row(tag) for tag in found.tags]
    used = [name for name in COLUMNS if any(row[name] for row in rows)]
    text = io.StringIO()
    writer = csv.DictWriter(text, used, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _row(tag: Any) -> dict[str, str]:
    row = {name: getattr(tag, name) for name in COLUMNS}
    row["scale"] = None if tag.scale == 1.0 else repr(tag.scale)
    if tag.deadband_percent is not None:
        row["deadband"] = f"{tag.deadband_percent!r}%"
    return {name: "" if value is None else str(value) for name, value in row.items()}
