"""NiFi processor: reads tags from an OPC UA server, and can do nothing but read."""

from nifiapi.documentation import ProcessorConfiguration, multi_processor_use_case, use_case
from nifiapi.flowfilesource import FlowFileSource, FlowFileSourceResult
from nifiapi.properties import (
    PropertyDependency,
    PropertyDescriptor,
    ResourceDefinition,
    StandardValidators,
    ValidationResult,
)

from otmirror import memory, nifi


def _config(context):
    """Return the reader's settings; raises ConfigError with every mistake."""
    from otmirror.opcua import config

    it = ReadOpcUaTags
    return config.build(
        tag_list_file=nifi.text(context, it.TAG_LIST_FILE),
        tag_list=nifi.text(context, it.TAG_LIST),
        endpoint=nifi.text(context, it.ENDPOINT_URL) or "",
        source=nifi.text(context, it.SOURCE_NAME) or "",
        interval_ms=round(nifi.period(context, it.POLL_INTERVAL, 1.0) * 1000),
        request_timeout=nifi.period(context, it.REQUEST_TIMEOUT, 5.0),
        session_timeout=nifi.period(context, it.SESSION_TIMEOUT, 30.0),
        reconnect_first=nifi.period(context, it.RECONNECT_DELAY, 1.0),
        reconnect_longest=nifi.period(context, it.LONGEST_RECONNECT_DELAY, 5.0),
        max_nodes=nifi.whole(context, it.MAX_NODES, 0),
        profile=nifi.text(context, it.SERVER_PROFILE) or "auto",
        max_requests=nifi.whole(context, it.MAX_REQUESTS, 0),
        backups=nifi.text(context, it.BACKUP_ENDPOINT_URLS),
        redundancy=nifi.text(context, it.REDUNDANCY) or "cold",
        refresh=nifi.period(context, it.REFRESH_INTERVAL, 60.0),
        emit_repeats=nifi.flag(context, it.EMIT_REPEATS),
        **_security(context),
        **_reports(context),
    )


def _security(context):
    from pathlib import Path

    it = ReadOpcUaTags
    return {
        "policy": nifi.text(context, it.SECURITY_POLICY) or "None",
        "mode": nifi.text(context, it.SECURITY_MODE),
        "username": nifi.text(context, it.USERNAME),
        "password": nifi.secret(context, it.PASSWORD),
        "allow_plain_password": nifi.flag(context, it.ALLOW_PLAIN_PASSWORD),
        "user_certificate": nifi.path(context, it.USER_CERTIFICATE_FILE),
        "user_key": nifi.path(context, it.USER_KEY_FILE),
        "user_key_password": nifi.secret(context, it.USER_KEY_PASSWORD),
        "allow_deprecated": nifi.flag(context, it.ALLOW_DEPRECATED),
        "pki": Path(nifi.text(context, it.PKI_DIRECTORY) or "./otmirror-pki"),
        "trust": nifi.text(context, it.SERVER_CERTIFICATE_TRUST) or "first use",
    }


def _reports(context):
    it = ReadOpcUaTags
    sampling = nifi.period(context, it.SAMPLING_INTERVAL, -1.0) if nifi.text(context, it.SAMPLING_INTERVAL) else None
    return {
        "metadata": nifi.flag(context, it.READ_METADATA),
        "arrays": nifi.text(context, it.ARRAYS) or "json",
        "nan_policy": nifi.text(context, it.NAN_POLICY) or "text",
        "mode_of_tags": nifi.text(context, it.ACQUISITION) or "poll",
        "sampling_ms": None if sampling is None else round(sampling * 1000),
        "queue_size": nifi.whole(context, it.QUEUE_SIZE, 10),
        "server_deadband": nifi.flag(context, it.DEADBAND_IN_SERVER),
        "buffer": nifi.whole(context, it.BUFFER_SIZE, 200_000),
        "lifetime": nifi.period(context, it.SUBSCRIPTION_LIFETIME, 600.0),
        "backfill": nifi.flag(context, it.BACKFILL),
        "backfill_limit": nifi.period(context, it.BACKFILL_LIMIT, 86400.0),
        "backfill_rate": nifi.whole(context, it.BACKFILL_RATE, 2),
    }


def _reader(context, memory):
    from nifiapi.componentstate import Scope

    from otmirror.opcua.reader import OpcUaReader

    memory.scope = Scope.CLUSTER
    return OpcUaReader(_config(context), memory=memory)


@use_case(
    description="Mirror the tags of one PLC, gateway or SCADA system that has an OPC UA server.",
    keywords=["opc ua", "plc", "scada", "historian", "poll", "read-only"],
    configuration="""
        Set Endpoint URL to the server's address, for instance 'opc.tcp://10.1.2.3:4840'.
        Write a tag list with a row a tag, for instance
            tag,address,unit,interval_ms
            acme/north/pad7/well12/P-TPT,nsu=http://acme.example/plant;s=Well12.P,Pa,
            acme/north/pad7/well12/state,ns=2;i=1042,,5000
        and set Tag List File to its path, or put its text into Tag List.
        Schedule the processor as timer driven with a Run Schedule of '50 ms', one concurrent task, and on a cluster
        on the primary node only, so that a tag is read once. Poll Interval says how often the tags are read.
        """,
)
@use_case(
    description="Read from an OPC UA server over a signed and encrypted connection with user name and password.",
    keywords=["opc ua", "security", "certificate", "encryption", "user", "password"],
    configuration="""
        Set Security Policy to 'Basic256Sha256', Security Mode to 'SignAndEncrypt', and Username and Password to those
        of an account that may only read.
        Start the processor once. It makes its own certificate, own/cert.der in PKI Directory, and the server refuses
        it: let the server trust that file (most servers list it among the rejected certificates).
        The server's certificate is pinned when it is first seen. Where that is not enough, set Server Certificate Trust
        to 'trusted only' and put the server's certificate, or that of the authority that issued it, into the folder
        'trusted' of PKI Directory beforehand.
        """,
)
@use_case(
    description="Log in to an OPC UA server with a user's X.509 certificate instead of a password.",
    keywords=["opc ua", "security", "certificate", "x509", "user", "login"],
    configuration="""
        Set up the secure connection as for user name and password, but leave Username and Password empty.
        Set User Certificate File and User Key File to the user's certificate and RSA key, and User Key Password if the
        key is encrypted. Let the server trust the certificate in its list of users' certificates, which is another one
        than its list of clients' certificates, and give that user the right to read only.
        """,
)
@use_case(
    description="Mirror a redundant pair of OPC UA servers, going over to the other one when the first is lost.",
    keywords=["opc ua", "redundancy", "failover", "backup", "service level"],
    configuration="""
        Set Endpoint URL to the first server and Backup Endpoint URLs to the others. They have to have the same nodes,
        and tag lists should name namespaces by URI. Samples carry the name of the first server, whichever is read.
        Leave Redundancy at 'cold' for one session at a time, or set it to 'warm' to have a session on a second server
        that takes over at once.
        With security, every server's certificate is pinned by itself, and every server has to trust own/cert.der.
        """,
)
@multi_processor_use_case(
    description="Bring OPC UA tags onto a message bus, so that any number of consumers gets them.",
    keywords=["opc ua", "mqtt", "kafka", "message bus", "unified namespace"],
    configurations=[
        ProcessorConfiguration(
            processor_type="ReadOpcUaTags",
            configuration="""
                Set Endpoint URL and Tag List File. Connect 'success' to PublishMQTT or to PublishKafka.
                """,
        ),
        ProcessorConfiguration(
            processor_type="org.apache.nifi.processors.mqtt.PublishMQTT",
            configuration="""
                Set Broker URI, Topic (for instance 'ot/samples') and Quality of Service '1'. Each FlowFile becomes
                one message of one JSON object a line. Connect 'failure' to the processor itself.
                """,
        ),
        ProcessorConfiguration(
            processor_type="org.apache.nifi.kafka.processors.PublishKafka",
            configuration="""
                Set the Kafka connection service and Topic Name, and Message Demarcator to a line break, so that each
                sample becomes a message of its own; or leave it unset for one message a batch. Connect 'failure' to
                the processor itself.
                """,
        ),
    ],
)
class ReadOpcUaTags(FlowFileSource):
    class Java:
        implements = ["org.apache.nifi.python.processor.FlowFileSource"]

    class ProcessorDetails:
        version = "2026.11.0"
        description = """Reads tags from an OPC UA server, by polling or as the server reports their changes, and gives
            FlowFiles of samples (NDJSON), each with its value, source and server timestamps, full status code and
            quality. It only reads: a request for any service but Read, HistoryRead, Browse, those of subscriptions and
            those that open and close a session is refused before a byte leaves. Requests are no larger and no more
            often than the server and the profile of its kind allow; with backup servers another one is read when the
            first is lost or says it is not healthy. A tag that cannot be read gives bad samples with its status and
            never hides the others; while no server can be reached, every cycle gives bad samples, and the processor
            connects again by itself; what was missed is fetched from the server's subscriptions or history, if it keeps
            them, and told as a gap if not. There is never more than one session on a server, and it is closed when the
            processor stops."""
        tags = ["opc ua", "opcua", "plc", "dcs", "scada", "ot", "historian", "poll", "read-only", "source"]
        dependencies = []

    ENDPOINT_URL = PropertyDescriptor(
        name="Endpoint URL",
        description="""Address of the OPC UA server, such as 'opc.tcp://10.1.2.3:4840' or
            'opc.tcp://plc-7:4840/path'. The port is 4840 when it is left out. User name and password do not belong
            here.""",
        required=True,
        validators=[StandardValidators.NON_EMPTY_VALIDATOR],
    )
    BACKUP_ENDPOINT_URLS = PropertyDescriptor(
        name="Backup Endpoint URLs",
        description="""Addresses of further servers that have the same nodes, separated by commas or line breaks. One of
            them is read when the server at Endpoint URL is lost and cannot be had again, or when it says by its
            ServiceLevel that it is not healthy (below 200) and another one is better. The server that is read then
            stays the one until it is lost or unhealthy itself: at most one change a minute, unless a server is lost.
            The samples' source stays that of Endpoint URL. User, security and all else are the same for all.""",
        required=False,
        validators=[StandardValidators.NON_EMPTY_VALIDATOR],
    )
    REDUNDANCY = PropertyDescriptor(
        name="Redundancy",
        description="""How backup servers are used. 'cold': there is a session on the server that is read only; another
            one is connected to when that one is lost, and for a moment to see its ServiceLevel when the first is not
            healthy. 'warm': there is always a session on a second server, on which nothing but its state is read,
            and which takes over at once.""",
        required=True,
        default_value="cold",
        allowable_values=["cold", "warm"],
        dependencies=[PropertyDependency(BACKUP_ENDPOINT_URLS)],
    )
    TAG_LIST_FILE = PropertyDescriptor(
        name="Tag List File",
        description="""Path of the tag list, a CSV file (UTF-8) with a header row and the columns tag, address, type,
            unit, interval_ms, deadband, exc_min_ms, exc_max_ms, range, mode, sampling_ms, scale, offset and
            description; tag and address are required. An address is 'ns=2;s=Well12.P' or, better,
            'nsu=http://acme.example/plant;s=Well12.P': a namespace URI is looked up at each connect, while an index may
            change when the server restarts. Identifiers are s=name, i=number, g=GUID and b=base64. With scale or
            offset, value * scale + offset is mirrored. A value within deadband of the last one emitted is held back: a
            number in the tag's unit, or '2%' of range, which is 'low..high' and, when empty, the server's EURange. The
            last value held back is emitted right before a change. exc_min_ms is the shortest time between samples,
            exc_max_ms the longest, in place of Refresh Interval. mode is 'poll' or 'subscribe', sampling_ms how often
            the server samples a subscribed tag. Set exactly one of Tag List File and Tag List. The file is read when
            the processor starts.""",
        required=False,
        validators=[StandardValidators.NON_EMPTY_VALIDATOR],
        resource_definition=ResourceDefinition(allow_file=True),
    )
    TAG_LIST = PropertyDescriptor(
        name="Tag List",
        description="""The text of the tag list itself, in the form of Tag List File, for short lists.""",
        required=False,
        validators=[StandardValidators.NON_EMPTY_VALIDATOR],
    )
    SOURCE_NAME = PropertyDescriptor(
        name="Source Name",
        description="""What the samples carry as their source. A sample is the same by its tag, timestamp and source,
            so each processor needs a name of its own, and keeps it. When unset, it is 'opcua:' with host and port of
            the server.""",
        required=False,
        validators=[StandardValidators.NON_EMPTY_VALIDATOR],
    )
    POLL_INTERVAL = PropertyDescriptor(
        name="Poll Interval",
        description="""How often a tag is read that has no interval_ms of its own in the tag list. Cycles keep to a
            fixed grid: one that takes longer than the interval is followed by the next slot of the grid.""",
        required=True,
        default_value="1 sec",
        validators=[StandardValidators.TIME_PERIOD_VALIDATOR],
    )
    SECURITY_POLICY = PropertyDescriptor(
        name="Security Policy",
        description="""How messages are protected. If the server does not offer it, the message says what it
            offers. Basic128Rsa15 and Basic256 are no longer safe: they take Allow Deprecated Security as well.""",
        required=True,
        default_value="None",
        allowable_values=[
            "None",
            "Basic256Sha256",
            "Aes128_Sha256_RsaOaep",
            "Aes256_Sha256_RsaPss",
            "Basic256",
            "Basic128Rsa15",
        ],
    )
    ALLOW_DEPRECATED = PropertyDescriptor(
        name="Allow Deprecated Security",
        description="""Whether Security Policy may be Basic256 or Basic128Rsa15, which rest on SHA-1 and, the latter, on
            a broken way to encrypt keys; and whether, with Security Mode Sign, a password may be encrypted by them
            alone. For an old controller that has nothing better; each connect gives a warning.""",
        required=True,
        default_value="false",
        allowable_values=["true", "false"],
    )
    SECURITY_MODE = PropertyDescriptor(
        name="Security Mode",
        description="""Sign protects messages against change, SignAndEncrypt also against being read.""",
        required=True,
        default_value="SignAndEncrypt",
        allowable_values=["Sign", "SignAndEncrypt"],
        dependencies=[
            PropertyDependency(
                SECURITY_POLICY,
                "Basic256Sha256",
                "Aes128_Sha256_RsaOaep",
                "Aes256_Sha256_RsaPss",
                "Basic256",
                "Basic128Rsa15",
            )
        ],
    )
    PKI_DIRECTORY = PropertyDescriptor(
        name="PKI Directory",
        description="""Folder for certificates, made when it is missing. This client's own certificate and key
            (own/cert.der, own/key.pem) are made on first use and kept; ones of your own may be put in their place.
            Certificates that are trusted, servers' own and authorities', are in trusted/; those of authorities in
            between are in issuers/ when servers do not send them, revocation lists in crl/, and what was refused is
            kept in rejected/. A relative path starts at the directory NiFi runs Python in, so an absolute one is
            better.""",
        required=True,
        default_value="./otmirror-pki",
        validators=[StandardValidators.NON_EMPTY_VALIDATOR],
        dependencies=[
            PropertyDependency(
                SECURITY_POLICY,
                "Basic256Sha256",
                "Aes128_Sha256_RsaOaep",
                "Aes256_Sha256_RsaPss",
                "Basic256",
                "Basic128Rsa15",
            )
        ],
    )
    SERVER_CERTIFICATE_TRUST = PropertyDescriptor(
        name="Server Certificate Trust",
        description="""Which server certificate is accepted. 'trusted only': one that is in trusted/, or that an
            authority in trusted/ issued; another one is put into rejected/, from where it can be moved. 'first use':
            the same, and the first one seen at this address is put into trusted/ by itself. With both, one that
            expired or was revoked is refused. 'any': every one, which gives no protection against somebody in
            between.""",
        required=True,
        default_value="first use",
        allowable_values=["first use", "trusted only", "any"],
        dependencies=[
            PropertyDependency(
                SECURITY_POLICY,
                "Basic256Sha256",
                "Aes128_Sha256_RsaOaep",
                "Aes256_Sha256_RsaPss",
                "Basic256",
                "Basic128Rsa15",
            )
        ],
    )
    USERNAME = PropertyDescriptor(
        name="Username",
        description="""User name for the server; anonymous when unset. An account that may only read is best. When the
            server refuses user name or password, the next attempt is made after 10 minutes, so that the account is
            not locked; a restart of the processor tries at once.""",
        required=False,
        validators=[StandardValidators.NON_EMPTY_VALIDATOR],
    )
    PASSWORD = PropertyDescriptor(
        name="Password",
        description="""Password of that user; a parameter marked as sensitive is the place for it.""",
        required=False,
        sensitive=True,
        validators=[StandardValidators.NON_EMPTY_VALIDATOR],
    )
    ALLOW_PLAIN_PASSWORD = PropertyDescriptor(
        name="Allow Password Without Encryption",
        description="""Whether the password may be sent where nothing reliably protects it. With Security Policy None
            most servers still have the password encrypted, but with a certificate that nobody has checked, so whoever
            sits in between can have it: this has to be true then. With Security Mode Sign it has to be true only for
            servers that want the password unencrypted. With SignAndEncrypt it does not matter.""",
        required=True,
        default_value="false",
        allowable_values=["true", "false"],
    )
    USER_CERTIFICATE_FILE = PropertyDescriptor(
        name="User Certificate File",
        description="""Path of the X.509 certificate (PEM or DER) of the user to log in as, instead of Username and
            Password. It is another one than this client's own in PKI Directory, and the server has to trust it as a
            user's. It is read at each connect.""",
        required=False,
        validators=[StandardValidators.NON_EMPTY_VALIDATOR],
        resource_definition=ResourceDefinition(allow_file=True),
    )
    USER_KEY_FILE = PropertyDescriptor(
        name="User Key File",
        description="""Path of the RSA private key (PEM or DER) of that certificate. Only NiFi should be able to read
            it.""",
        required=False,
        validators=[StandardValidators.NON_EMPTY_VALIDATOR],
        resource_definition=ResourceDefinition(allow_file=True),
    )
    USER_KEY_PASSWORD = PropertyDescriptor(
        name="User Key Password",
        description="""What opens User Key File, when that is encrypted.""",
        required=False,
        sensitive=True,
        validators=[StandardValidators.NON_EMPTY_VALIDATOR],
    )
    REQUEST_TIMEOUT = PropertyDescriptor(
        name="Request Timeout",
        description="""How long to wait for each answer, and for a whole connection attempt. Slow controllers may need
            more than the default to connect with security. A read that takes longer ends the connection.""",
        required=True,
        default_value="5 sec",
        validators=[StandardValidators.TIME_PERIOD_VALIDATOR],
    )
    SESSION_TIMEOUT = PropertyDescriptor(
        name="Session Timeout",
        description="""How long the server keeps the session of a process that was killed. The server may revise it,
            which is reported. The session is kept alive between polls, so it may be shorter than the poll
            interval.""",
        required=True,
        default_value="30 sec",
        validators=[StandardValidators.TIME_PERIOD_VALIDATOR],
    )
    RECONNECT_DELAY = PropertyDescriptor(
        name="Reconnect Delay",
        description="""How long to wait after a failure before connecting again. The delay doubles with each
            failure.""",
        required=True,
        default_value="1 sec",
        validators=[StandardValidators.TIME_PERIOD_VALIDATOR],
    )
    LONGEST_RECONNECT_DELAY = PropertyDescriptor(
        name="Longest Reconnect Delay",
        description="""The delay does not grow beyond this; only after a refused login it is at least 10 minutes.""",
        required=True,
        default_value="5 sec",
        validators=[StandardValidators.TIME_PERIOD_VALIDATOR],
    )
    MAX_NODES = PropertyDescriptor(
        name="Max Nodes Per Read",
        description="""The most tags one read request may ask for. 0 leaves it to the server's own limit
            (MaxNodesPerRead) and to its profile, whichever is smaller. Whatever is set here, requests are never larger
            than the server's limit, and become smaller when the server calls them too large.""",
        required=True,
        default_value="0",
        validators=[StandardValidators.NON_NEGATIVE_INTEGER_VALIDATOR],
    )
    SERVER_PROFILE = PropertyDescriptor(
        name="Server Profile",
        description="""What kind of server it is, which decides how large and how frequent requests may be beside the
            limits that the server states itself. 'auto' goes by what the server says of itself (product and
            manufacturer in its BuildInfo) and takes 'unknown', with cautious limits, for a server it does not know.
            The message at a connect says which profile was taken. 'generic-fast' is for servers on PCs that can take
            large requests.""",
        required=True,
        default_value="auto",
        allowable_values=["auto", "S7-1200", "S7-1500", "Kepware", "Ignition", "Prosys", "generic-fast", "unknown"],
    )
    MAX_REQUESTS = PropertyDescriptor(
        name="Max Requests Per Second",
        description="""The most requests a second that one server gets, whatever happens: reading, browsing, setting up
            after a reconnect. A cycle of many requests is spread accordingly, in bursts of at most a quarter of a
            second's worth. What keeps the session alive does not count. 0 leaves it to the profile, most of which set
            no limit. If it is too little for the tag list and the poll interval, polls are skipped and a warning says
            so.""",
        required=True,
        default_value="0",
        validators=[StandardValidators.NON_NEGATIVE_INTEGER_VALIDATOR],
    )
    REFRESH_INTERVAL = PropertyDescriptor(
        name="Refresh Interval",
        description="""After how long a tag is emitted again that did not change, or stayed
            within its deadband. So a steady tag can be
            told from a dead one, and a sample lost on the way is made good. It carries its own timestamp when that is
            newer than what was emitted, else the time it was read. 0 sec means never.""",
        required=True,
        default_value="1 min",
        validators=[StandardValidators.TIME_PERIOD_VALIDATOR],
    )
    EMIT_REPEATS = PropertyDescriptor(
        name="Emit Repeats",
        description="""Whether a tag that was read again without having changed (same timestamp, value and status)
            gives a sample again. If true, every read gives one with its own timestamp, and
            neither deadbands nor Refresh Interval are applied.""",
        required=True,
        default_value="false",
        allowable_values=["true", "false"],
    )
    BACKFILL = PropertyDescriptor(
        name="Backfill",
        description="""Whether what a tag did while it could not be read is read from the server's history afterwards
            (HistoryRead), in batches of its own whose samples are marked with backfill. Only tags whose AccessLevel
            says that they have a history are asked for, and nothing is asked for twice.""",
        required=True,
        default_value="true",
        allowable_values=["true", "false"],
    )
    BACKFILL_LIMIT = PropertyDescriptor(
        name="Backfill Limit",
        description="""How far back from the end of an outage history is read. What was missed before is told and
            left.""",
        required=True,
        default_value="24 hours",
        validators=[StandardValidators.TIME_PERIOD_VALIDATOR],
        dependencies=[PropertyDependency(BACKFILL, "true")],
    )
    BACKFILL_RATE = PropertyDescriptor(
        name="Backfill Requests Per Second",
        description="""The most requests for history a second, each for at most 100 tags and 5000 values. Polls go on
            meanwhile.""",
        required=True,
        default_value="2",
        validators=[StandardValidators.POSITIVE_INTEGER_VALIDATOR],
        dependencies=[PropertyDependency(BACKFILL, "true")],
    )

    READ_METADATA = PropertyDescriptor(
        name="Read Metadata",
        description="""Whether the server is asked, once at the first connection, what it says of the tags: units and
            types that the tag list leaves open, names of states, structures' fields, and whether this account could
            write them. It takes some requests of Read and Browse for every 100 tags.""",
        required=True,
        default_value="true",
        allowable_values=["true", "false"],
    )
    ACQUISITION = PropertyDescriptor(
        name="Acquisition",
        description="""How tags are read that have no mode of their own in the tag list. 'poll': they are read at each
            Poll Interval. 'subscribe': the server reports their changes by itself, at most once each Poll Interval, and
            keeps values of its own accord while this processor does not ask. Losses are noticed and become samples with
            status BadDataLost. A tag that the server does not report is polled.""",
        required=True,
        default_value="poll",
        allowable_values=["poll", "subscribe"],
    )
    SAMPLING_INTERVAL = PropertyDescriptor(
        name="Sampling Interval",
        description="""For subscribed tags: how often the server looks at the device. '0 sec' is as fast as it can; when
            unset, once each Poll Interval. The column sampling_ms of the tag list says it for one tag. Values between
            two reports wait in the server's queue.""",
        required=False,
        validators=[StandardValidators.TIME_PERIOD_VALIDATOR],
    )
    QUEUE_SIZE = PropertyDescriptor(
        name="Queue Size",
        description="""For subscribed tags: how many values of a tag the server keeps until they are reported. When it
            is full the oldest is dropped, which gives a sample with status BadDataLost. Large enough is Poll Interval
            divided by Sampling Interval, times the seconds that NiFi may stop this processor.""",
        required=True,
        default_value="10",
        validators=[StandardValidators.POSITIVE_INTEGER_VALIDATOR],
    )
    DEADBAND_IN_SERVER = PropertyDescriptor(
        name="Deadband In Server",
        description="""For subscribed tags: whether the server is asked to apply deadbands, which spares it and the
            network. If false, or where the server does not, they are applied here, where the value before a change can
            be emitted too.""",
        required=True,
        default_value="true",
        allowable_values=["true", "false"],
    )
    BUFFER_SIZE = PropertyDescriptor(
        name="Buffer Size",
        description="""For subscribed tags: how many values may wait here while NiFi does not ask, as when the queue
            after this processor is full. Then the server is asked for nothing more and its own queues take over. A
            value takes some 300 bytes.""",
        required=True,
        default_value="200000",
        validators=[StandardValidators.POSITIVE_INTEGER_VALIDATOR],
    )
    SUBSCRIPTION_LIFETIME = PropertyDescriptor(
        name="Subscription Lifetime",
        description="""For how long the server should keep a subscription that nobody asks, as while the connection is
            lost, NiFi restarts or its queues are full. What it kept is fetched afterwards. The server may revise
            it.""",
        required=True,
        default_value="10 min",
        validators=[StandardValidators.TIME_PERIOD_VALIDATOR],
    )

    ARRAYS = PropertyDescriptor(
        name="Arrays",
        description="""What becomes of an array: 'json' makes it one sample whose text is JSON, a matrix lists of lists.
            'elements' makes each element a sample of its own with its own type, under the tag's name with its index,
            such as acme/x[0], of a matrix acme/x[0][1]; an array without elements is one sample, the JSON text [].
            A tag whose type in the tag list is json stays one sample.""",
        required=True,
        default_value="json",
        allowable_values=["json", "elements"],
    )
    NAN_POLICY = PropertyDescriptor(
        name="NaN Policy",
        description="""What becomes of a good value that is no number: 'text' keeps its quality, with NaN, Infinity or
            -Infinity in text. 'bad' makes NaN a bad sample with BadSensorFailure, as over Modbus, and an infinity one
            with BadOutOfRange.""",
        required=True,
        default_value="text",
        allowable_values=["text", "bad"],
    )

    def __init__(self, **kwargs):
        super().__init__()
        self._memory = memory.StateMemory()
        self._holder = nifi.source_holder(lambda context: _reader(context, self._memory), self)

    def getPropertyDescriptors(self):
        return [
            self.ENDPOINT_URL,
            self.BACKUP_ENDPOINT_URLS,
            self.REDUNDANCY,
            self.TAG_LIST_FILE,
            self.TAG_LIST,
            self.SOURCE_NAME,
            self.POLL_INTERVAL,
            self.SECURITY_POLICY,
            self.ALLOW_DEPRECATED,
            self.SECURITY_MODE,
            self.PKI_DIRECTORY,
            self.SERVER_CERTIFICATE_TRUST,
            self.USERNAME,
            self.PASSWORD,
            self.ALLOW_PLAIN_PASSWORD,
            self.USER_CERTIFICATE_FILE,
            self.USER_KEY_FILE,
            self.USER_KEY_PASSWORD,
            self.REQUEST_TIMEOUT,
            self.SESSION_TIMEOUT,
            self.RECONNECT_DELAY,
            self.LONGEST_RECONNECT_DELAY,
            self.MAX_NODES,
            self.SERVER_PROFILE,
            self.MAX_REQUESTS,
            self.REFRESH_INTERVAL,
            self.EMIT_REPEATS,
            self.ARRAYS,
            self.NAN_POLICY,
            self.READ_METADATA,
            self.ACQUISITION,
            self.SAMPLING_INTERVAL,
            self.QUEUE_SIZE,
            self.DEADBAND_IN_SERVER,
            self.BUFFER_SIZE,
            self.SUBSCRIPTION_LIFETIME,
            self.BACKFILL,
            self.BACKFILL_LIMIT,
            self.BACKFILL_RATE,
        ]

    def customValidate(self, context):
        return [ValidationResult(**problem) for problem in nifi.invalid("OPC UA source", context, _config)]

    def onScheduled(self, context):
        nifi.prepare(self._holder, context)

    def onStopped(self, context):
        self._memory.context = context
        self._holder.reset()

    def create(self, context):
        self._memory.context = context
        output = nifi.produce(self._holder, context, self.logger)
        if output is None:
            return None
        return FlowFileSourceResult(output.relationship, output.attributes, output.contents)
