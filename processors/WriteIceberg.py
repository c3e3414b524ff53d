"""NiFi processor: samples into Iceberg tables."""

from nifiapi.documentation import use_case
from nifiapi.flowfiletransform import FlowFileTransform, FlowFileTransformResult
from nifiapi.properties import PropertyDependency, PropertyDescriptor, StandardValidators, ValidationResult
from nifiapi.relationship import Relationship

from otmirror import nifi
from otmirror.clock import SystemClock


def _config(context):
    from otmirror.iceberg.config import Config
    from otmirror.telegraf.template import DEFAULT_SOURCE, DEFAULT_TAG

    p = WriteIceberg
    return Config(
        catalog_type=nifi.text(context, p.CATALOG_TYPE) or "sqlite",
        catalog_name=nifi.text(context, p.CATALOG_NAME) or "otmirror",
        uri=nifi.text(context, p.CATALOG_URI),
        warehouse=nifi.text(context, p.WAREHOUSE),
        namespace=nifi.text(context, p.NAMESPACE) or "ot",
        samples_table=nifi.text(context, p.SAMPLES_TABLE) or "samples",
        rejects_table=nifi.text(context, p.REJECTS_TABLE) or "rejects",
        credential=nifi.secret(context, p.CATALOG_CREDENTIAL),
        token=nifi.secret(context, p.CATALOG_TOKEN),
        s3_endpoint=nifi.text(context, p.S3_ENDPOINT),
        s3_region=nifi.text(context, p.S3_REGION),
        s3_access_key=nifi.secret(context, p.S3_ACCESS_KEY),
        s3_secret_key=nifi.secret(context, p.S3_SECRET_KEY),
        ca_file=nifi.text(context, p.CA_FILE),
        client_certificate=nifi.text(context, p.CLIENT_CERTIFICATE),
        client_key=nifi.text(context, p.CLIENT_KEY),
        snapshot_retention=nifi.period(context, p.SNAPSHOT_RETENTION, 86400.0),
        telegraf_tag=nifi.text(context, p.TELEGRAF_TAG) or DEFAULT_TAG,
        telegraf_source=nifi.text(context, p.TELEGRAF_SOURCE) or DEFAULT_SOURCE,
        more=nifi.dynamic(context),
    )


def _sink(context):
    from otmirror.iceberg.sink import IcebergSink

    return IcebergSink(_config(context), SystemClock())


@use_case(
    description="Keep samples for good in Iceberg tables, on this machine, without any server.",
    notes="The catalog is one SQLite file, catalog.db, in the Warehouse folder. Several processors and NiFi nodes "
    "may write only where they share this file system; otherwise use the REST or SQL catalog.",
    keywords=["lakehouse", "iceberg", "parquet", "archive"],
    configuration="""
        Leave Catalog Type at sqlite and set Warehouse to the absolute path of a folder NiFi may write.
        Put a MergeContent before this processor, so that one FlowFile (one commit) holds a minute of samples or
        more: every commit makes a snapshot and a file a day of data.
        Set the relationship retry to be retried by NiFi with backoff. A batch that was stored already is recognised
        by its id and not stored twice.
        Route failure to a queue: it means that an existing table has other columns.
        """,
)
@use_case(
    description="Write samples to Iceberg tables of a lakehouse with a REST catalog and S3 storage.",
    keywords=["REST catalog", "S3", "MinIO", "Polaris", "Nessie", "Lakekeeper"],
    configuration="""
        Set Catalog Type to rest, Catalog URI to the catalog's URL, Warehouse to the name or location the catalog
        knows, and Catalog Credential (client id:secret) or Catalog Token. Set the S3 properties unless the catalog
        hands out storage credentials. Any other pyiceberg property can be added as a property of that name.
        """,
)
@use_case(
    description="Keep the lines that ToVictoriaMetrics could not store.",
    keywords=["rejects", "dead letter"],
    configuration="""
        Connect the relationship rejected of ToVictoriaMetrics to this processor (through a MergeContent of its own,
        not merged with samples): FlowFiles whose attribute otmirror.content is rejects go to the rejects table.
        """,
)
@use_case(
    description="Look after the tables: store each sample once, merge small files, remove files nothing refers to.",
    notes="Works on days that are over (UTC); batches may be written meanwhile, by this or any other writer.",
    keywords=["maintenance", "compaction", "duplicates", "redelivery", "expire", "orphan files"],
    configuration="""
        Use a second WriteIceberg with the same catalog properties, so that batches do not queue behind it. Lead to it
        a GenerateFlowFile (File Size 0 B, on the primary node, scheduled once an hour to once a day) with a property
        otmirror.content of value maintenance. One run begins no further day after 10 minutes; the next run goes on.
        End success; set retry to be retried by NiFi with backoff. What was done is in the attributes
        otmirror.iceberg.duplicates.removed, files.before, files.after, files.removed, days.left and seconds (all with
        that prefix). Files are removed when nothing has referred to them and they are more than a day old.
        """,
)
class WriteIceberg(FlowFileTransform):
    class Java:
        implements = ["org.apache.nifi.python.processor.FlowFileTransform"]

    class ProcessorDetails:
        version = "2026.11.0"
        description = """Writes samples (NDJSON, one JSON object a line) to an Iceberg table, partitioned by day and
            sorted by tag and time, one commit a FlowFile, each batch exactly once: its id is kept in the table's
            snapshots and looked up before every commit. Lines that cannot be read go to a rejects table with their
            reason. Makes namespace and tables when they are missing and adds missing columns."""
        tags = ["ot", "tag", "sample", "iceberg", "parquet", "lakehouse", "archive", "exactly once"]
        dependencies = []

    CATALOG_TYPE = PropertyDescriptor(
        name="Catalog Type",
        description="sqlite: a file catalog.db in the Warehouse folder, no server needed. sql: a database. rest: an "
        "Iceberg REST catalog.",
        required=True,
        default_value="sqlite",
        allowable_values=["sqlite", "sql", "rest"],
    )
    CATALOG_URI = PropertyDescriptor(
        name="Catalog URI",
        description="rest: the catalog's URL. sql: an SQLAlchemy URI such as postgresql+psycopg2://host/database, "
        "without a password; its driver has to be installed beside the processor. A connection is waited for 10 "
        "seconds; how long for an answer says the URI, with psycopg2 for example "
        "?tcp_user_timeout=60000&options=-c%20statement_timeout%3D60000, with pymysql ?read_timeout=60.",
        dependencies=[PropertyDependency(CATALOG_TYPE, "sql", "rest")],
    )
    WAREHOUSE = PropertyDescriptor(
        name="Warehouse",
        description="Where the tables' files are. sqlite: the absolute path of a folder, made when missing. sql: a "
        "folder or a location such as s3://bucket/path. rest: the name or location the catalog knows, or unset.",
    )
    NAMESPACE = PropertyDescriptor(
        name="Namespace",
        description="Namespace of the tables, made when missing; levels are separated by dots.",
        required=True,
        default_value="ot",
        validators=[StandardValidators.NON_EMPTY_VALIDATOR],
    )
    SAMPLES_TABLE = PropertyDescriptor(
        name="Samples Table",
        description="Table of the samples, made when missing. An existing one gets missing columns added; one with "
        "columns of other types is refused.",
        required=True,
        default_value="samples",
        validators=[StandardValidators.NON_EMPTY_VALIDATOR],
    )
    REJECTS_TABLE = PropertyDescriptor(
        name="Rejects Table",
        description="Table of the lines that could not be read or stored, with their reasons; made when first needed.",
        required=True,
        default_value="rejects",
        validators=[StandardValidators.NON_EMPTY_VALIDATOR],
    )
    CATALOG_CREDENTIAL = PropertyDescriptor(
        name="Catalog Credential",
        description="rest: client id:client secret for OAuth2. sql: user:password of the database.",
        sensitive=True,
        dependencies=[PropertyDependency(CATALOG_TYPE, "sql", "rest")],
    )
    CATALOG_TOKEN = PropertyDescriptor(
        name="Catalog Token",
        description="Bearer token for the REST catalog, instead of Catalog Credential.",
        sensitive=True,
        dependencies=[PropertyDependency(CATALOG_TYPE, "rest")],
    )
    CATALOG_NAME = PropertyDescriptor(
        name="Catalog Name",
        description="Name of the catalog. A sqlite or sql catalog keeps its tables under this name: readers have to "
        "give the same.",
        required=True,
        default_value="otmirror",
        validators=[StandardValidators.NON_EMPTY_VALIDATOR],
    )
    S3_ENDPOINT = PropertyDescriptor(
        name="S3 Endpoint",
        description="URL of an S3-compatible storage, such as http://minio:9000. Unset: AWS.",
        dependencies=[PropertyDependency(CATALOG_TYPE, "sql", "rest")],
    )
    S3_REGION = PropertyDescriptor(
        name="S3 Region",
        description="Region of the bucket, such as eu-central-1.",
        dependencies=[PropertyDependency(CATALOG_TYPE, "sql", "rest")],
    )
    S3_ACCESS_KEY = PropertyDescriptor(
        name="S3 Access Key",
        description="Access key id; needs S3 Secret Key. Unset: what the catalog or the machine's environment gives. "
        "Sensitive as its secret is, so that both can come from a vault and change together.",
        sensitive=True,
        dependencies=[PropertyDependency(CATALOG_TYPE, "sql", "rest")],
    )
    S3_SECRET_KEY = PropertyDescriptor(
        name="S3 Secret Key",
        description="Secret access key; needs S3 Access Key.",
        sensitive=True,
        dependencies=[PropertyDependency(CATALOG_TYPE, "sql", "rest")],
    )
    CA_FILE = PropertyDescriptor(
        name="CA Certificate File",
        description="PEM file with the authority's certificate that signed those of the REST catalog and of the S3 "
        "storage; only for https. Unset: the public authorities.",
        dependencies=[PropertyDependency(CATALOG_TYPE, "sql", "rest")],
    )
    CLIENT_CERTIFICATE = PropertyDescriptor(
        name="Client Certificate File",
        description="PEM file with this client's certificate and its chain, for a REST catalog that wants one; needs "
        "Client Key File. The S3 storage is shown none.",
        dependencies=[PropertyDependency(CATALOG_TYPE, "rest")],
    )
    CLIENT_KEY = PropertyDescriptor(
        name="Client Key File",
        description="PEM file with the key of the client certificate, without a password and readable by NiFi's user "
        "only.",
        dependencies=[PropertyDependency(CATALOG_TYPE, "rest")],
    )
    SNAPSHOT_RETENTION = PropertyDescriptor(
        name="Snapshot Retention",
        description="Snapshots older than this are expired, at most once an hour; no data is lost. A batch that comes "
        "again after its snapshot has expired is no longer recognised and is stored twice. A commit takes about "
        "0.2 ms longer for every snapshot kept: with a commit a minute 7 days are fine, with one every 10 seconds "
        "keep it at 1 day. At least 1 hour; 0 sec: never expire. The files of expired snapshots stay in the warehouse "
        "until maintenance removes them.",
        required=True,
        default_value="1 day",
        validators=[StandardValidators.TIME_PERIOD_VALIDATOR],
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
            self.CATALOG_TYPE,
            self.CATALOG_URI,
            self.WAREHOUSE,
            self.NAMESPACE,
            self.SAMPLES_TABLE,
            self.REJECTS_TABLE,
            self.CATALOG_CREDENTIAL,
            self.CATALOG_TOKEN,
            self.CATALOG_NAME,
            self.S3_ENDPOINT,
            self.S3_REGION,
            self.S3_ACCESS_KEY,
            self.S3_SECRET_KEY,
            self.CA_FILE,
            self.CLIENT_CERTIFICATE,
            self.CLIENT_KEY,
            self.SNAPSHOT_RETENTION,
            self.TELEGRAF_TAG,
            self.TELEGRAF_SOURCE,
        ]

    def getDynamicPropertyDescriptor(self, name):
        return PropertyDescriptor(
            name=name,
            description="Passed to pyiceberg as it is, such as s3.path-style-access or rest.sigv4-enabled.",
            dynamic=True,
            validators=[StandardValidators.NON_EMPTY_VALIDATOR],
        )

    def getRelationships(self):
        return [
            Relationship("success", "The batch is in the tables; the content is unchanged."),
            Relationship(
                "retry",
                "The catalog or the storage does not take it now, see attribute otmirror.error. Send it again: "
                "what was stored is recognised.",
            ),
        ]

    def customValidate(self, context):
        return [ValidationResult(**kw) for kw in nifi.invalid("Iceberg", context, _config)]

    def onScheduled(self, context):
        nifi.prepare(self.holder, context)

    def onStopped(self, context):
        self.holder.reset()

    def transform(self, context, flowfile):
        wanted = ["otmirror.content", "otmirror.rejected.by", "otmirror.error"]
        output = nifi.consume(self.holder, context, flowfile, self.logger, wanted)
        return FlowFileTransformResult(output.relationship, output.attributes, output.contents)
