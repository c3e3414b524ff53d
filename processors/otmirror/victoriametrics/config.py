"""What the VictoriaMetrics sink is told by its properties."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from otmirror.errors import MistakesError
from otmirror.telegraf.template import DEFAULT_SOURCE, DEFAULT_TAG, template_problems
from otmirror.tlsfiles import TlsFiles

DAY = 86400.0
COMPRESSIONS = ("zstd", "gzip", "none")
OWN_LABELS = ("__name__", "tag", "unit", "source")
MOST_LABELS = 40
"""VictoriaMetrics' -maxLabelsPerTimeseries; the metric's name counts as one."""
LONGEST_LABEL = 4096
"""VictoriaMetrics' -maxLabelValueLen, bytes of UTF-8."""
LONGEST_NAME = 256
"""VictoriaMetrics' -maxLabelNameLen, bytes."""

_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


@dataclass(frozen=True)
class Config:
    """The sink's settings. Periods are seconds, sizes bytes before compression."""

    url: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None
    extra_labels: str | None = None
    prefix: str = "ot"
    retention: float = 31 * DAY
    compression: str = "zstd"
    max_request: int = 4 * 1024**2
    timeout: float = 30.0
    quality_interval: float = 60.0
    check_acceptance: bool = True
    telegraf_tag: str = DEFAULT_TAG
    telegraf_source: str = DEFAULT_SOURCE

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            MistakesError: with every mistake.
        """
        problems = [*_url_problems(self.url), *_credential_problems(self), *_number_problems(self)]
        problems += _label_problems(self.extra_labels)[1]
        problems += template_problems(self.telegraf_tag, self.telegraf_source)
        if not _METRIC.fullmatch(self.prefix) or len(self.prefix) > LONGEST_NAME - len("_quality"):
            problems.append(f"Metric Prefix: {self.prefix!r} is no metric name (letters, digits, _ and :)")
        if self.compression not in COMPRESSIONS:
            problems.append(f"Compression: {self.compression!r} is none of {', '.join(COMPRESSIONS)}")
        if problems:
            raise MistakesError(problems)

    @property
    def tls(self) -> TlsFiles:
        """The files for https."""
        return TlsFiles(self.ca_file, self.client_certificate, self.client_key)

    @property
    def labels(self) -> dict[str, str]:
        """The extra labels."""
        return _label_problems(self.extra_labels)[0]


def _url_problems(url: str) -> list[str]:
    if "@" in url:
        return ["VictoriaMetrics URL: holds credentials; use the properties Username and Password"]
    if "?" in url or "#" in url:
        return ["VictoriaMetrics URL: has a query or fragment; give the base URL, such as http://host:8428"]
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        return [f"VictoriaMetrics URL: {url!r} is not a URL: {error}"]
    if parts.scheme not in ("http", "https") or not host:
        return [f"VictoriaMetrics URL: {url!r} is not of the form http://host:8428"]
    if parts.path.rstrip("/").endswith("/api/v1/import"):
        return ["VictoriaMetrics URL: leave out /api/v1/import, give the base URL, such as http://host:8428"]
    return []


def _credential_problems(config: Config) -> list[str]:
    problems = []
    if config.username and config.token:
        problems.append("Bearer Token: set either it or Username and Password, not both")
    if bool(config.username) != bool(config.password):
        problems.append("Username and Password: set both or none")
    if config.token and not (config.token.isascii() and config.token.isprintable()):
        problems.append("Bearer Token: holds a line break or another character no HTTP header can carry")
    return problems + config.tls.problems(secured=not config.url.startswith("http:"))


def _number_problems(config: Config) -> list[str]:
    problems = []
    if config.retention < DAY:
        problems.append("Retention: shorter than VictoriaMetrics' least, 1 day")
    if config.timeout <= 0:
        problems.append("Request Timeout: has to be longer than 0")
    if config.max_request < 64 * 1024:
        problems.append("Max Request Size: less than 64 KB")
    return problems


def _label_problems(raw: str | None) -> tuple[dict[str, str], list[str]]:
    """Return the labels in `name=value, name=value`, and the mistakes."""
    labels: dict[str, str] = {}
    problems = []
    for part in (raw or "").split(","):
        name, equals, value = (text.strip() for text in part.partition("="))
        if not part.strip():
            continue
        if not (equals and value and _LABEL.fullmatch(name)) or len(name) > LONGEST_NAME:
            problems.append(f"Extra Labels: {part.strip()!r} is not of the form name=value")
        elif name in OWN_LABELS or name in labels:
            problems.append(f"Extra Labels: {name} is already a label")
        elif len(value.encode()) > LONGEST_LABEL:
            problems.append(f"Extra Labels: the value of {name} is longer than {LONGEST_LABEL} bytes")
        else:
            labels[name] = value
    if len(labels) + len(OWN_LABELS) > MOST_LABELS:
        problems.append(f"Extra Labels: more than {MOST_LABELS - len(OWN_LABELS)}")
    return labels, problems
