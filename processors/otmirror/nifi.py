"""The seam to NiFi: property values in, FlowFile results out.

Nothing here imports `nifiapi`: contexts, FlowFiles and loggers are used by their shape, so the library runs and
is tested without NiFi. The four processor files are the only ones that know its classes.
"""

from __future__ import annotations

import base64
import contextlib
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from otmirror import samples
from otmirror.errors import ConfigError, MirrorError
from otmirror.holder import FAULT, C, Holder
from otmirror.metrics.sink import SinkFigures
from otmirror.metrics.source import SourceFigures
from otmirror.notices import Notice

_PERIOD = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*", re.IGNORECASE)
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?B)\s*", re.IGNORECASE)
_SECONDS = {
    1e-9: ("ns", "nano", "nanos", "nanosecond", "nanoseconds"),
    1e-6: ("us", "micro", "micros", "microsecond", "microseconds"),
    1e-3: ("ms", "milli", "millis", "millisecond", "milliseconds"),
    1.0: ("s", "sec", "secs", "second", "seconds"),
    60.0: ("m", "min", "mins", "minute", "minutes"),
    3600.0: ("h", "hr", "hrs", "hour", "hours"),
    86400.0: ("d", "day", "days"),
    604800.0: ("w", "wk", "wks", "week", "weeks"),
    31536000.0: ("y", "yr", "yrs", "year", "years"),
}
_METRICS = "metrics"
_UNITS = {name: seconds for seconds, names in _SECONDS.items() for name in names}


def text(context: Any, descriptor: Any) -> str | None:
    """Return a property's value without surrounding blanks; None when unset, empty or not applicable."""
    value = context.getProperty(descriptor)
    raw = None if value is None else value.getValue()
    return (raw.strip() or None) if isinstance(raw, str) else None


def secret(context: Any, descriptor: Any) -> str | None:
    """Return a sensitive property exactly as entered; None when unset."""
    value = context.getProperty(descriptor)
    raw = None if value is None else value.getValue()
    return raw or None


def path(context: Any, descriptor: Any) -> Path | None:
    """Return a property that names a file or folder; None when unset."""
    value = text(context, descriptor)
    return Path(value) if value else None


def flag(context: Any, descriptor: Any) -> bool:
    """Return whether a property says `true`."""
    return (text(context, descriptor) or "").lower() == "true"


def whole(context: Any, descriptor: Any, default: int) -> int:
    """Return a whole number, or `default` when unset.

    Raises:
        ConfigError: the property holds something else.
    """
    raw = text(context, descriptor)
    if raw is None:
        return default
    try:
        return int(raw)
    except ValueError:
        raise ConfigError(f"property {name_of(descriptor)}: {raw!r} is not a whole number") from None


def period(context: Any, descriptor: Any, default: float) -> float:
    """Return a time period such as `500 ms` or `2 mins` in seconds, or `default` when unset.

    Raises:
        ConfigError: the property holds something else.
    """
    raw = text(context, descriptor)
    if raw is None:
        return default
    try:
        return parse_period(raw)
    except ValueError as error:
        raise ConfigError(f"property {name_of(descriptor)}: {error}") from None


def parse_period(raw: str) -> float:
    """Convert NiFi's notation of a time period to seconds.

    Raises:
        ValueError: `raw` is none.
    """
    match = _PERIOD.fullmatch(raw)
    if not match or match[2].lower() not in _UNITS:
        raise ValueError(f"{raw!r} is not a time period; write a number and a unit, such as '500 ms' or '2 sec'")
    return float(match[1]) * _UNITS[match[2].lower()]


def size(context: Any, descriptor: Any, default: int) -> int:
    """Return a data size such as `4 MB` in bytes, or `default` when unset.

    Raises:
        ConfigError: the property holds something else.
    """
    raw = text(context, descriptor)
    if raw is None:
        return default
    match = _SIZE.fullmatch(raw)
    if not match:
        raise ConfigError(f"property {name_of(descriptor)}: {raw!r} is not a data size such as '4 MB'")
    return int(float(match[1]) * 1024 ** ("B", "KB", "MB", "GB", "TB").index(match[2].upper()))


def dynamic(context: Any) -> dict[str, str]:
    """Return the properties the user added to a processor."""
    return {
        str(descriptor.name): str(value).strip()
        for descriptor, value in context.getProperties().items()
        if descriptor.dynamic and value
    }


def name_of(descriptor: Any) -> str:
    """Return the name a property has on the canvas."""
    return descriptor if isinstance(descriptor, str) else str(descriptor.name)


def invalid(subject: str, context: Any, build: Callable[[Any], object]) -> list[dict[str, Any]]:
    """Return keyword arguments for NiFi's ValidationResult: empty when `build(context)` accepts the properties.

    A ConfigError becomes one result a mistake, so that the canvas lists them all.
    """
    try:
        build(context)
    except ConfigError as error:
        problems = getattr(error, "problems", None)
        name = getattr(error, "name", subject)
        messages = [str(problem) for problem in problems[:20]] if problems else [str(error)]
        if problems and len(problems) > 20:
            messages.append(f"... and {len(problems) - 20} more mistakes")
        where = name if problems else subject
        return [{"subject": where, "explanation": m, "valid": False, "input": None} for m in messages]
    return []


class Source(Protocol):
    """A reader of tags, as a source processor drives it."""

    @property
    def figures(self) -> SourceFigures:
        """What it counts."""

    def read(self) -> pa.Table | None:
        """Return the next batch, or None when there is nothing; blocks for a bounded time only."""

    def close(self) -> None:
        """End the session with the device. May be called more than once."""

    def notices(self) -> list[Notice]:
        """Return what the operator should be told since the last call."""


@dataclass
class Output:
    """What a processor hands to NiFi. `contents` None leaves the FlowFile's content as it is."""

    relationship: str
    attributes: dict[str, str]
    contents: bytes | None


def prepare(holder: Holder[C], context: Any) -> None:
    """Build the object anew at the start, so that the first call does not have to wait for what it imports.

    A mistake in the properties is left for that call to report.
    """
    holder.notices.clear(FAULT)
    holder.drop()
    if holder.meter is not None:
        holder.meter.start()
    with contextlib.suppress(MirrorError):
        holder.get(context)


def source_holder(make: Callable[[Any], Source], owner: Any = None) -> Holder[Source]:
    """Return a holder for a source processor, which is `owner`."""
    return Holder(make, lambda source: source.close(), owner)


def produce(holder: Holder[Source], context: Any, logger: Any) -> Output | None:
    """Do one `create`: read a batch and turn it into a FlowFile. Never raises; yields when there is a fault."""
    source: Source | None = None
    output: Output | None = None
    try:
        source = holder.get(context)
        table = source.read()
        output = _written(table)
        if output is not None:
            with contextlib.suppress(Exception):
                source.figures.emitted(table)
        holder.notices.clear(FAULT)
    except MirrorError as error:
        holder.fault()
        holder.notices.say("error", FAULT, str(error))
        rest(context)
    except Exception as error:
        holder.fault()
        holder.notices.say("error", FAULT, f"unexpected {type(error).__name__} while reading: {error}")
        # What was read counts as emitted in this source; a new one emits every tag again.
        with contextlib.suppress(Exception):
            holder.drop()
        rest(context)
    tell(logger, holder, source)
    return output


def _written(table: pa.Table | None) -> Output | None:
    if table is None or table.num_rows == 0:
        return None
    content = samples.encode(table)
    return Output("success", samples.batch_attributes(table, content), content)


class Sink(Protocol):
    """A writer of batches, as a sink processor drives it."""

    @property
    def figures(self) -> SinkFigures:
        """What it counts."""

    def write(self, content: bytes, attributes: Mapping[str, str]) -> Output:
        """Store one FlowFile; what a neighbour does or does not answer is part of the result, not an error."""

    def close(self) -> None:
        """Let go of connections. May be called more than once."""

    def notices(self) -> list[Notice]:
        """Return what the operator should be told since the last call."""

    def hide(self, text: str) -> str:
        """Return `text` with the sink's secrets masked."""


def sink_holder(make: Callable[[Any], Sink], owner: Any = None) -> Holder[Sink]:
    """Return a holder for a sink processor, which is `owner`."""
    return Holder(make, lambda sink: sink.close(), owner)


def consume(holder: Holder[Sink], context: Any, flowfile: Any, logger: Any, wanted: Iterable[str] = ()) -> Output:
    """Do one `transform`: store a FlowFile. Never raises; yields when the FlowFile has to come again.

    `wanted` names the FlowFile attributes the sink looks at.
    """
    sink: Sink | None = None
    began = time.monotonic()
    try:
        sink = holder.get(context)
        attributes = {name: value for name in wanted if (value := flowfile.getAttribute(name)) is not None}
        output = sink.write(content_of(flowfile), attributes)
        holder.notices.clear(FAULT)
    except MirrorError as error:
        holder.fault()
        holder.notices.say("error", FAULT, str(error))
        output = Output("retry", {"otmirror.error": str(error)}, None)
    except Exception as error:
        holder.fault()
        message = f"unexpected {type(error).__name__} while storing: {error}"
        message = sink.hide(message) if sink is not None else message
        report([Notice("error", message)], logger)
        output = Output("failure", {"otmirror.error": message}, None)
    if sink is not None:
        with contextlib.suppress(Exception):
            sink.figures.took(output.relationship, time.monotonic() - began)
    tell(logger, holder, sink)
    if output.relationship == "retry":
        rest(context)
    return output


def tell(logger: Any, holder: Holder[C], part: Source | Sink | None) -> None:
    """Report what a processor, its metrics file and its source or sink have to say. Never raises."""
    problem = holder.meter.problem if holder.meter is not None else None
    if problem:
        holder.notices.say("warn", _METRICS, problem)
    else:
        holder.notices.clear(_METRICS, "metrics can be written again")
    report(holder.notices.take(), logger)
    if part is not None:
        with contextlib.suppress(Exception):
            report(part.notices(), logger)


def report(notices: Iterable[Notice], logger: Any) -> None:
    """Pass notices to NiFi's logger, which makes bulletins of warnings and errors.

    Never raises: a logger that cannot be reached must not cost the batch at hand.
    """
    for notice in notices:
        with contextlib.suppress(Exception):
            getattr(logger, notice.level)(notice.message)


def rest(context: Any) -> None:
    """Ask NiFi not to call again at once; runtimes without that call are left alone. Never raises."""
    with contextlib.suppress(Exception):
        if hasattr(context, "yield_resources"):
            context.yield_resources()


def content_of(flowfile: Any) -> bytes:
    """Return a FlowFile's whole content."""
    return bytes(flowfile.getContentsAsBytes())


def faster_content() -> None:
    """Let py4j decode byte arrays at C speed in this process.

    Its own converter walks the base64 text byte by byte, which limits a sink to about 15 MB/s. Outside NiFi, where
    there is no py4j, this does nothing.
    """
    try:
        from py4j import protocol
    except ImportError:
        return
    protocol.register_output_converter(protocol.BYTES_TYPE, lambda encoded, _client: base64.b64decode(encoded))
