"""Values as people read them, by Grafana's ids of units; only those that the dashboards use."""

from __future__ import annotations

import math

from otmirror.errors import ConfigError

_TIMES = ((86400.0, "days"), (3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
_RATES = {"cps": "/s", "wps": "/s", "ops": "/s"}
_LARGE = ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k"))
UNITS = ("none", "short", "percentunit", "s", *_RATES)


def shown(value: float, unit: str, decimals: int | None = None) -> str:
    """Return a value with its unit.

    Raises:
        ConfigError: the unit is none that is known here.
    """
    if unit not in UNITS:
        raise ConfigError(f"unit {unit!r} cannot be drawn: one of {', '.join(UNITS)}")
    if not math.isfinite(value):
        return "∞" if value > 0 else "no number"
    if unit == "percentunit":
        return f"{_number(value * 100, decimals)} %"
    if unit == "s":
        return _time(value, decimals)
    if unit in _RATES:
        return f"{_short(value, decimals)}{_RATES[unit]}"
    return _short(value, decimals) if unit == "short" else _number(value, decimals)


def _time(value: float, decimals: int | None) -> str:
    scale, name = next(((scale, name) for scale, name in _TIMES if abs(value) >= scale), (1.0, "s"))
    return f"{_number(value / scale, decimals)} {name}"


def _short(value: float, decimals: int | None) -> str:
    scale, name = next(((scale, name) for scale, name in _LARGE if abs(value) >= scale), (1.0, ""))
    return f"{_number(value / scale, decimals)}{name}"


def _number(value: float, decimals: int | None) -> str:
    if decimals is not None:
        return f"{value:,.{decimals}f}"
    # Three significant digits, as Grafana does by itself.
    digits = 0 if not value else max(0, min(6, 2 - math.floor(math.log10(abs(value)))))
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
