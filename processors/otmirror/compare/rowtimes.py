"""Times of an export's rows, as text, to microseconds UTC."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from otmirror.compare.profiles import Profile
from otmirror.errors import ConfigError

_US, _UTC = pa.timestamp("us"), pa.timestamp("us", tz="UTC")
_ZONED = re.compile(r"([Zz]|[+-]\d\d(:?\d\d)?)$")
_FINER = r"(\.\d{6})\d+"
"""AVEVA writes 100 ns."""
_FRACTION = r"^(?P<moment>.*?\d)(?:[.,](?P<fraction>\d{1,9}))?$"

Complain = Callable[[str, str, str], ConfigError]
"""Makes the error for a cell: its column, its text, what is wrong."""


class Times:
    """Reads one column of times; remembers which format and which kind of zone the file has."""

    def __init__(self, profile: Profile, column: str, complain: Complain):
        """Take the column's name in the file."""
        self._profile, self._column, self._complain = profile, column, complain
        self._format: str | None = None
        self._zoned: bool | None = None

    def read(self, text: pa.Array) -> pa.Array:
        """Return microseconds since 1970-01-01 UTC, int64; null where there is no text.

        Raises:
            ConfigError: a time cannot be read, has no zone where the profile names none, or some have one and some not.
        """
        text = pc.if_else(pc.equal(text, ""), None, text)
        if self._format is None:
            self._format = self._fitting(text)
        if self._format.startswith("epoch"):
            return self._epoch(text)
        if self._format == "iso":
            return self._iso(text)
        return self._local(self._strptime(text, self._format), text)

    def _fitting(self, text: pa.Array) -> str:
        """Return the first of the profile's formats that reads the first time."""
        first = next((value for value in text.to_pylist() if value), None)
        if first is None:
            return self._profile.formats[0]
        one = pa.array([first])
        for name in self._profile.formats:
            if name.startswith("epoch"):
                fits = first.strip().lstrip("-").isdigit()
            elif name == "iso":
                fits = _iso_or_null(one)[0].is_valid
            else:
                fits = self._strptime(one, name)[0].is_valid
            if fits:
                return name
        raise self._complain(
            self._column, first, f"is no time as the profile has it ({', '.join(self._profile.formats)})"
        )

    def _epoch(self, text: pa.Array) -> pa.Array:
        try:
            number = pc.cast(text, pa.float64())
        except pa.ArrowInvalid:
            raise self._first(text, lambda one: _is_number(one), "is no number") from None
        scale = 1e6 if self._format == "epoch_s" else 1e3
        return pc.cast(pc.round(pc.multiply(number, scale)), pa.int64())

    def _iso(self, text: pa.Array) -> pa.Array:
        if self._zoned is None:
            first = next((value for value in text.to_pylist() if value), "")
            self._zoned = bool(first) and _has_zone(first)
        try:
            moment = self._cast(text)
        except pa.ArrowInvalid:
            try:
                moment = self._cast(pc.replace_substring_regex(text, _FINER, r"\1"))
            except pa.ArrowInvalid:
                raise self._odd_zone(text) from None
        return pc.cast(moment, pa.int64()) if self._zoned else self._local(moment, text)

    def _cast(self, text: pa.Array) -> pa.Array:
        # Arrow takes a zone at every text for a type with one, and at none for a type without.
        return pc.cast(text, _UTC if self._zoned else _US)

    def _odd_zone(self, text: pa.Array) -> ConfigError:
        for one in text.to_pylist():
            if one is not None and not _iso_or_null(pa.array([one]))[0].is_valid:
                return self._complain(self._column, one, "is no time")
            if one is not None and _has_zone(one) is not self._zoned:
                now, before = ("no zone", "one") if self._zoned else ("a zone", "none")
                what = f"has {now}, but earlier times have {before}: export with one kind of time"
                return self._complain(self._column, one, what)
        return self._complain(self._column, "", "cannot be read")

    def _strptime(self, text: pa.Array, format_: str) -> pa.Array:
        parts = pc.extract_regex(pc.utf8_trim_whitespace(text), _FRACTION)
        # Arrow's strptime knows %b as `Nov`, not as `NOV`, on some systems.
        moment = pc.strptime(pc.utf8_title(parts.field("moment")), format=format_, unit="us", error_is_null=True)
        digits = pc.utf8_slice_codeunits(pc.utf8_rpad(parts.field("fraction"), 6, "0"), 0, 6)
        fraction = pc.cast(pc.if_else(pc.equal(parts.field("fraction"), ""), "0", digits), pa.int64())
        return pc.cast(pc.add(pc.cast(moment, pa.int64()), fraction), _US)

    def _local(self, moment: pa.Array, text: pa.Array) -> pa.Array:
        if moment.null_count > text.null_count:
            place = pc.index(pc.and_(pc.is_null(moment), pc.is_valid(text)), True).as_py()
            raise self._complain(self._column, text[place].as_py(), f"is no time as {self._format}")
        zone = self._profile.zone
        if not zone:
            raise self._complain(
                self._column, text[_first_valid(text)].as_py(),
                "names no zone, and neither does the profile: give --left-zone or --right-zone, such as Europe/Oslo",
            )  # fmt: skip
        if zone == "UTC":
            return pc.cast(moment, pa.int64())
        try:
            zoned = pc.assume_timezone(moment, zone, ambiguous=self._profile.ambiguous, nonexistent="raise")
        except pa.ArrowInvalid:
            raise self._twice(moment, text, zone) from None
        return pc.cast(zoned, pa.int64())

    def _twice(self, moment: pa.Array, text: pa.Array, zone: str) -> ConfigError:
        for place in range(len(moment)):
            try:
                pc.assume_timezone(moment.slice(place, 1), zone, ambiguous=self._profile.ambiguous, nonexistent="raise")
            except pa.ArrowInvalid as error:
                what = "does not exist" if "exist" in str(error) else "happens twice"
                how = 'export in UTC, or write `ambiguous = "earliest"` or `"latest"` into a profile of your own'
                return self._complain(self._column, text[place].as_py(), f"{what} in {zone}, when clocks change: {how}")
        return self._complain(self._column, "", f"cannot be read in {zone}")

    def _first(self, text: pa.Array, fine: Callable[[str], bool], what: str) -> ConfigError:
        odd = next((one for one in text.to_pylist() if one is not None and not fine(one)), "")
        return self._complain(self._column, odd, what)


def _has_zone(text: str) -> bool:
    # A date ends like a zone: 2026-11-24.
    return len(text) > 10 and _ZONED.search(text) is not None


def _first_valid(text: pa.Array) -> int:
    return int(pc.index(pc.is_valid(text), True).as_py())


def _iso_or_null(text: pa.Array) -> pa.Array:
    text = pc.replace_substring_regex(text, _FINER, r"\1")
    for type_ in (_UTC, _US):
        try:
            return pc.cast(text, type_)
        except pa.ArrowInvalid:
            continue
    return pa.nulls(len(text), _US)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def numbers(text: pa.Array, profile: Profile) -> tuple[pa.Array, pa.Array]:
    """Return a profile's values, null where a text is none, and where a text is neither a number nor known as none."""
    cell = pc.utf8_trim_whitespace(text)
    absent = pa.array(["", *profile.nulls, *profile.states.get("bad", ())], pa.string())
    shown = pc.if_else(pc.is_in(cell, value_set=absent), None, cell)
    if profile.numbers:
        meant = pa.array([repr(float(number)).replace(".", profile.decimal) for number in profile.numbers.values()])
        place = pc.index_in(cell, value_set=pa.array(list(profile.numbers), pa.string()))
        shown = pc.coalesce(meant.take(place), shown)
    if profile.decimal == ",":
        shown = pc.replace_substring(shown, ",", ".")
    try:
        values = pc.cast(shown, pa.float64())
        # `nan` and `inf` are written by some exports; they are no value.
        return pc.if_else(pc.is_finite(values), values, None), pa.array(np.zeros(len(text), bool))
    except pa.ArrowInvalid:
        fine: list[Any] = [None if one is None or not _is_number(one) else float(one) for one in shown.to_pylist()]
        values = pa.array(fine, pa.float64())
        return values, pc.and_(pc.is_null(values), pc.is_valid(shown))
