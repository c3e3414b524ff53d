"""NiFi processor: samples into VictoriaMetrics."""

from nifiapi.documentation import use_case
from nifiapi.flowfiletransform import FlowFileTransform, FlowFileTransformResult
from nifiapi.properties import PropertyDescriptor, StandardValidators, ValidationResult
from nifiapi.relationship import Relationship

from otmirror import nifi
from otmirror.clock import SystemClock


def _config(context):
    from otmirror.telegraf.template import DEFAULT_SOURCE, DEFAULT_TAG
    from otmirror.victoriametrics.config import Config

    p = ToVictoriaMetrics
    return Config(
        url=nifi.text(context, p.URL) or "",
        username=nifi.text(context, p.USERNAME),
        password=nifi.secret(context, p.PASSWORD),
        token=nifi.secret(context, p.TOKEN),
        ca_file=nifi.text(context, p.CA_FILE),
        client_certificate=nifi.text(context, p.CLIENT_CERTIFICATE),
        client_key=nifi.text(context, p.CLIENT_KEY),
        extra_labels=nifi.text(context, p.EXTRA_LABELS),
        prefix=nifi.text(context, p.METRIC_PREFIX) or "ot",
        retention=nifi.period(context, p.RETENTION, 31 * 86400.0),
        compression=nifi.text(context, p.COMPRESSION) or "zstd",
        max_request=nifi.size(context, p.MAX_REQUEST_SIZE, 4 * 1024**2),
        timeout=nifi.period(context, p.REQUEST_TIMEOUT, 30.0),
        quality_interval=nifi.period(context, p.QUALITY_INTERVAL, 60.0),
        check_acceptance=nifi.flag(context, p.CHECK_ACCEPTANCE),
        telegraf_tag=nifi.text(context, p.TELEGRAF_TAG) or DEFAULT_TAG,
        telegraf_source=nifi.text(context, p.TELEGRAF_SOURCE) or DEFAULT_SOURCE,
    )


def _sink(context):
    from otmirror.victoriametrics.sink import VictoriaMetricsSink

    return VictoriaMetricsSink(_config(context), SystemClock())


@use_case(
    description="Store samples in VictoriaMetrics and keep the quality of every value.",
    notes="The numbers become the series ot_value, with the labels tag, unit and source. The quality becomes "
    "ot_quality (2 good, 1 uncertain, 0 bad), the status code ot_status: written when they change and once every "
    "Quality Interval. A bad sample has no value, so ot_value shows a gap where ot_quality is 0. Text has no place "
    "in VictoriaMetrics: of such samples only quality and status are stored.",
    keywords=["time series", "historian", "quality", "metrics"],
    configuration="""
        Set VictoriaMetrics URL to the server's base URL and Retention to its -retentionPeriod.
        Start the server with -dedup.minScrapeInterval=1ms, so that samples sent again after a fault are stored once.
        Set the relationship retry to be retried by NiFi with backoff; the FlowFile waits in the queue, and
        back-pressure reaches the sources when the queue is full.
        Connect rejected to WriteIceberg, which keeps refused lines in its rejects table, or to a queue.
        """,
)
@use_case(
    description="Fill VictoriaMetrics with history, such as recorded or replayed data that is years old.",
    keywords=["backfill", "replay", "history"],
    configuration="""
        Start the server with a long -retentionPeriod (for example 100y) and set Retention to the same (100 years):
        without it the server answers 204 and stores nothing.
        """,
)
@use_case(
    description="Write to a VictoriaMetrics that is behind TLS, authentication or vmauth.",
    keywords=["TLS", "vmauth", "authentication"],
    configuration="""
        Give an https:// URL; when its certificate is your own authority's, name that authority's certificate in
        CA Certificate File. Set Username and Password, or Bearer Token; a client certificate where a proxy before the
        server wants one. Let the user read /metrics too, or set
        Check Acceptance to false.
        """,
)
class ToVictoriaMetrics(FlowFileTransform):
    class Java:
        implements = ["org.apache.nifi.python.processor.FlowFileTransform"]

    class ProcessorDetails:
        version = "2026.11.0"
        description = """Writes samples (NDJSON, one JSON object a line) to VictoriaMetrics: values, quality and status
            code as series, grouped by tag. What the server would drop silently (times outside its retention, NaN
            and infinity, labels that are too long) is found before it is sent and goes to rejected with a reason
            a line, while the rest of the batch is stored."""
        tags = ["ot", "tag", "sample", "victoriametrics", "time series", "historian", "quality", "prometheus"]
        dependencies = []

    URL = PropertyDescriptor(
        name="VictoriaMetrics URL",
        description="Base URL of the server, such as http://127.0.0.1:8428, without credentials; /api/v1/import is "
        "added. For a cluster: http://vminsert:8480/insert/0/prometheus.",
        required=True,
        validators=[StandardValidators.NON_EMPTY_VALIDATOR],
    )
    USERNAME = PropertyDescriptor(
        name="Username",
        description="User for HTTP basic authentication; needs Password.",
    )
    PASSWORD = PropertyDescriptor(
        name="Password",
        description="Password for HTTP basic authentication; needs Username.",
        sensitive=True,
    )
    TOKEN = PropertyDescriptor(
        name="Bearer Token",
        description="Token sent as Authorization: Bearer, instead of Username and Password.",
        sensitive=True,
    )
    CA_FILE = PropertyDescriptor(
        name="CA Certificate File",
        description="PEM file with the authority's certificate that signed the server's; only for https. Unset: the "
        "public authorities.",
    )
    CLIENT_CERTIFICATE = PropertyDescriptor(
        name="Client Certificate File",
        description="PEM file with this client's certificate and its chain, for a proxy that wants one; needs Client "
        "Key File. The open VictoriaMetrics itself asks for none.",
    )
    CLIENT_KEY = PropertyDescriptor(
        name="Client Key File",
        description="PEM file with the key of the client certificate, without a password and readable by NiFi's user "
        "only.",
    )
    EXTRA_LABELS = PropertyDescriptor(
        name="Extra Labels",
        description="Labels added to every series, as name=value separated by commas, for example "
        "site=north,plant=7. Never one that changes from run to run: every change starts new series.",
    )
    METRIC_PREFIX = PropertyDescriptor(
        name="Metric Prefix",
        description="Start of the metrics' names: ot gives ot_value, ot_quality and ot_status.",
        required=True,
        default_value="ot",
        validators=[StandardValidators.NON_EMPTY_VALIDATOR],
    )
    RETENTION = PropertyDescriptor(
        name="Retention",
        description="How far back the server keeps samples; has to be the same as its -retentionPeriod. Older "
        "samples go to rejected, because the server would answer 204 and drop them. At least 1 day; for recorded "
        "data for example 100 years.",
        required=True,
        default_value="31 days",
        validators=[StandardValidators.NON_EMPTY_VALIDATOR],
    )
    COMPRESSION = PropertyDescriptor(
        name="Compression",
        description="Compression of the requests. zstd is smaller and six times faster than gzip.",
        required=True,
        default_value="zstd",
        allowable_values=["zstd", "gzip", "none"],
    )
    MAX_REQUEST_SIZE = PropertyDescriptor(
        name="Max Request Size",
        description="Largest request before compression; a larger batch is sent in parts. Lower it when a proxy "
        "answers 413.",
        required=True,
        default_value="4 MB",
        validators=[StandardValidators.DATA_SIZE_VALIDATOR],
    )
    REQUEST_TIMEOUT = PropertyDescriptor(
        name="Request Timeout",
        description="How long to wait for an answer; a connection is waited for at most 10 seconds of it.",
        required=True,
        default_value="30 sec",
        validators=[StandardValidators.TIME_PERIOD_VALIDATOR],
    )
    QUALITY_INTERVAL = PropertyDescriptor(
        name="Quality Interval",
        description="Longest time between two samples of ot_quality and ot_status while neither changes, in the "
        "samples' own time. Keep it below the server's look-back of 5 minutes. 0 sec writes them with every sample.",
        required=True,
        default_value="1 min",
        validators=[StandardValidators.TIME_PERIOD_VALIDATOR],
    )
    CHECK_ACCEPTANCE = PropertyDescriptor(
        name="Check Acceptance",
        description="Read the server's /metrics at most every 30 seconds and warn when it dropped samples it had "
        "answered 204 to, or when its flags do not fit this processor.",
        required=True,
        default_value="true",
        allowable_values=["true", "false"],
    )
    TELEGRAF_TAG = PropertyDescriptor(
        name="Telegraf Tag",
        description="Tag of the samples made of Telegraf's metrics (its JSON, or Influx line protocol), one a field. "
        "{a|b} is the metric's tag a or, where it has none, b; measurement and field stand for their names. Two "
        "metrics that differ in no tag named here become one tag: for inputs.opcua with equal field names add {id}. "
        "Give both sinks the same.",
        required=True,
        default_value="telegraf/{name|measurement}/{field}",
        validators=[StandardValidators.NON_EMPTY_VALIDATOR],
    )
    TELEGRAF_SOURCE = PropertyDescriptor(
        name="Telegraf Source",
        description="Source of the samples made of Telegraf's metrics, with the placeholders of Telegraf Tag except "
        "field.",
        required=True,
        default_value="telegraf:{host|measurement}",
        validators=[StandardValidators.NON_EMPTY_VALIDATOR],
    )

    def __init__(self, **kwargs):
        super().__init__()
        nifi.faster_content()
        self.holder = nifi.sink_holder(_sink, self)

    def getPropertyDescriptors(self):
        return [
            self.URL,
            self.USERNAME,
            self.PASSWORD,
            self.TOKEN,
            self.CA_FILE,
            self.CLIENT_CERTIFICATE,
            self.CLIENT_KEY,
            self.EXTRA_LABELS,
            self.METRIC_PREFIX,
            self.RETENTION,
            self.COMPRESSION,
            self.MAX_REQUEST_SIZE,
            self.REQUEST_TIMEOUT,
            self.QUALITY_INTERVAL,
            self.CHECK_ACCEPTANCE,
            self.TELEGRAF_TAG,
            self.TELEGRAF_SOURCE,
        ]

    def getRelationships(self):
        return [
            Relationship("success", "The whole batch is stored; the content is unchanged."),
            Relationship(
                "rejected",
                "Lines that cannot be stored, each with its reason; the rest of the batch is stored.",
            ),
            Relationship(
                "retry",
                "The server does not take samples now, see attribute otmirror.error. Send it again: harmless.",
            ),
        ]

    def customValidate(self, context):
        return [ValidationResult(**kw) for kw in nifi.invalid("VictoriaMetrics", context, _config)]

    def onScheduled(self, context):
        nifi.prepare(self.holder, context)

    def onStopped(self, context):
        self.holder.reset()

    def transform(self, context, flowfile):
        output = nifi.consume(self.holder, context, flowfile, self.logger, ["otmirror.error"])
        return FlowFileTransformResult(output.relationship, output.attributes, output.contents)
