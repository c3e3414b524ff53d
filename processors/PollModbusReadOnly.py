"""NiFi processor: reads tags from Modbus TCP devices, and can do nothing but read."""

from nifiapi.documentation import ProcessorConfiguration, multi_processor_use_case, use_case
from nifiapi.flowfilesource import FlowFileSource, FlowFileSourceResult
from nifiapi.properties import PropertyDescriptor, ResourceDefinition, StandardValidators, ValidationResult

from otmirror import nifi


def _config(context):
    """Return the reader's settings; raises ConfigError with every mistake."""
    from otmirror.modbus import config

    it = PollModbusReadOnly
    return config.build(
        devices=nifi.text(context, it.DEVICES) or "",
        source=nifi.text(context, it.SOURCE_NAME),
        tag_list_file=nifi.text(context, it.TAG_LIST_FILE),
        tag_list=nifi.text(context, it.TAG_LIST),
        interval_ms=round(nifi.period(context, it.POLL_INTERVAL, 1.0) * 1000),
        timeout=nifi.period(context, it.REQUEST_TIMEOUT, 1.0),
        order=nifi.text(context, it.DEFAULT_BYTE_ORDER) or "ABCD",
        max_registers=nifi.whole(context, it.MAX_REGISTERS, 125),
        max_bits=nifi.whole(context, it.MAX_BITS, 2000),
        pause_ms=nifi.period(context, it.PAUSE, 0.0) * 1000,
        reconnect_first=nifi.period(context, it.RECONNECT_DELAY, 1.0),
        reconnect_longest=nifi.period(context, it.LONGEST_RECONNECT_DELAY, 30.0),
        refresh=nifi.period(context, it.REFRESH_INTERVAL, 60.0),
    )


def _reader(context):
    from otmirror.modbus.reader import ModbusReader

    return ModbusReader(_config(context))


@use_case(
    description="Mirror the registers of one PLC or RTU that speaks Modbus TCP.",
    keywords=["modbus", "plc", "rtu", "registers", "poll", "read-only"],
    configuration="""
        Set Devices to the device's host and port, for instance '10.1.2.3:502'.
        Write a tag list with a row a tag, for instance
            tag,address,type,unit,scale
            acme/pad7/well12/P-TPT,1:holding:100,float,Pa,
            acme/pad7/well12/T-TPT,1:40103,int16,degC,0.1
            acme/pad7/well12/ESD,1:discrete:7,,,
        and set Tag List File to its path, or put its text into Tag List.
        Schedule the processor as timer driven with a Run Schedule of '50 ms', one concurrent task, and on a cluster
        on the primary node only, so that a device is asked once. Poll Interval says how often the tags are read.
        """,
)
@use_case(
    description="Mirror many units behind Modbus gateways without a silent unit slowing down the others.",
    keywords=["modbus", "gateway", "serial", "units", "timeout"],
    configuration="""
        Set Devices to one entry a gateway: 'north=10.1.2.3:502, south=10.1.2.4:502'.
        Begin each address of the tag list with the device's name, for instance 'north/17:holding:0'.
        Set Request Timeout above the time after which the gateway itself gives up on a unit: with less, the request to
        the next unit waits in the gateway for the silent one, and runs into its own timeout.
        For slow serial lines set Pause Between Requests, and lower Max Registers Per Request if a device asks for it.
        """,
)
@multi_processor_use_case(
    description="Bring Modbus tags into VictoriaMetrics for display and into Iceberg for the record.",
    keywords=["modbus", "victoriametrics", "iceberg", "historian", "time series", "lakehouse"],
    configurations=[
        ProcessorConfiguration(
            processor_type="PollModbusReadOnly",
            configuration="""
                Set Devices and Tag List File. Connect 'success' both to ToVictoriaMetrics and to MergeContent.
                """,
        ),
        ProcessorConfiguration(
            processor_type="ToVictoriaMetrics",
            configuration="""
                Set VictoriaMetrics URL. Connect 'retry' to the processor itself, and keep what 'rejected' gives.
                """,
        ),
        ProcessorConfiguration(
            processor_type="org.apache.nifi.processors.standard.MergeContent",
            configuration="""
                Merge the small batches of a minute or so into one FlowFile: Merge Strategy 'Bin-Packing Algorithm',
                Merge Format 'Binary Concatenation', Max Bin Age '1 min'. Connect 'merged' to WriteIceberg.
                """,
        ),
        ProcessorConfiguration(
            processor_type="WriteIceberg",
            configuration="""
                Set the catalog and the warehouse. Each merged batch becomes one snapshot of the table.
                """,
        ),
    ],
)
class PollModbusReadOnly(FlowFileSource):
    class Java:
        implements = ["org.apache.nifi.python.processor.FlowFileSource"]

    class ProcessorDetails:
        version = "2026.11.0"
        description = """Polls coils, discrete inputs, input registers and holding registers of Modbus TCP devices and
            gives one FlowFile of samples (NDJSON) a cycle. It only reads: a request with any function code but 1, 2,
            3 and 4 is refused before a byte leaves. Neighbouring registers are read together in as few requests as
            possible, and no register is touched that the tag list does not declare. Every tag yields a sample a
            cycle: a unit that fails or does not answer gives bad samples with a status for its own tags, and delays
            nobody else by more than its own timeout."""
        tags = ["modbus", "modbus tcp", "plc", "rtu", "scada", "ot", "poll", "read-only", "source"]
        dependencies = []

    DEVICES = PropertyDescriptor(
        name="Devices",
        description="""The Modbus TCP device as 'host:port', or several, each with a name of its own:
            'name=host:port, name=host:port'. The port is 502 when it is left out; an IPv6 address goes in brackets.
            There is one connection to each device, with one request at a time on it. An address in the tag list
            begins with the device's name and a slash, which may be left out when there is only one device.""",
        required=True,
        validators=[StandardValidators.NON_EMPTY_VALIDATOR],
    )
    TAG_LIST_FILE = PropertyDescriptor(
        name="Tag List File",
        description="""Path of the tag list, a CSV file (UTF-8) with a header row and the columns tag, address, type,
            unit, interval_ms, deadband, exc_min_ms, exc_max_ms, range, scale, offset, order and description; tag and
            address are required, and type is for registers. An address is '[device/]unit:table:offset', table one of
            coil, discrete, input and holding, offset counted from 0; or '[device/]unit:40001', counted from 1, where
            the first of 5 or 6 digits names the table (0 coil, 1 discrete, 3 input, 4 holding). A bool in a register
            adds ':bit' (0 is the least significant), a string adds ':length' in registers. Types are bool, int16,
            uint16, int32, uint32, int64, uint64, float, double and string. With scale or offset, value * scale + offset
            is mirrored. A value within deadband of the last one emitted is held back: a number in the tag's unit, or
            '2%' of range, which is 'low..high'. The last value held back is emitted right before a change. exc_min_ms
            is the shortest time between samples, exc_max_ms the longest, in place of Refresh Interval. Unit 0 is for a
            device that has no other unit. Set exactly one of Tag List File and Tag List. The file is read when the
            processor starts.""",
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
            so each processor needs a name of its own, and keeps it. When unset, it is 'modbus:' with host and port of
            the first device.""",
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
    REQUEST_TIMEOUT = PropertyDescriptor(
        name="Request Timeout",
        description="""How long to wait for a connection and for each answer. A unit that does not answer in time
            is left alone, its tags bad, and asked again with one request after Reconnect Delay and growing delays.
            Behind a gateway to serial lines, choose more than the gateway's own timeout.""",
        required=True,
        default_value="1 sec",
        validators=[StandardValidators.TIME_PERIOD_VALIDATOR],
    )
    DEFAULT_BYTE_ORDER = PropertyDescriptor(
        name="Default Byte Order",
        description="""Byte order of values whose tag declares none, A being the most significant byte of a 32-bit
            value: ABCD big endian, CDAB words exchanged, BADC the bytes of each word exchanged, DCBA little endian.
            64-bit values follow the same pattern; of 16-bit values and strings, BADC and DCBA exchange the two bytes
            of each register.""",
        required=True,
        default_value="ABCD",
        allowable_values=["ABCD", "CDAB", "BADC", "DCBA"],
    )
    MAX_REGISTERS = PropertyDescriptor(
        name="Max Registers Per Request",
        description="""The most registers one request may ask for, 1 to 125. Lower it for devices that allow less. A
            tag of several registers is never split over two requests.""",
        required=True,
        default_value="125",
        validators=[StandardValidators.POSITIVE_INTEGER_VALIDATOR],
    )
    MAX_BITS = PropertyDescriptor(
        name="Max Bits Per Request",
        description="""The most coils or discrete inputs one request may ask for, 1 to 2000. Lower it for devices that
            allow less.""",
        required=True,
        default_value="2000",
        validators=[StandardValidators.POSITIVE_INTEGER_VALIDATOR],
    )
    PAUSE = PropertyDescriptor(
        name="Pause Between Requests",
        description="""The least time between the end of one request to a device and the start of the next, to spare
            slow devices.""",
        required=True,
        default_value="0 ms",
        validators=[StandardValidators.TIME_PERIOD_VALIDATOR],
    )
    RECONNECT_DELAY = PropertyDescriptor(
        name="Reconnect Delay",
        description="""How long to wait before a device that cannot be reached, or a unit that does not answer, is
            tried again. The delay doubles with each failure.""",
        required=True,
        default_value="1 sec",
        validators=[StandardValidators.TIME_PERIOD_VALIDATOR],
    )
    LONGEST_RECONNECT_DELAY = PropertyDescriptor(
        name="Longest Reconnect Delay",
        description="""The delay does not grow beyond this.""",
        required=True,
        default_value="30 sec",
        validators=[StandardValidators.TIME_PERIOD_VALIDATOR],
    )
    REFRESH_INTERVAL = PropertyDescriptor(
        name="Refresh Interval",
        description="""After how long a tag is emitted again that stayed within its deadband. So a steady tag can be
            told from a dead one, and a sample lost on the way is made good. 0 sec means never.""",
        required=True,
        default_value="1 min",
        validators=[StandardValidators.TIME_PERIOD_VALIDATOR],
    )

    def __init__(self, **kwargs):
        super().__init__()
        self._holder = nifi.source_holder(_reader, self)

    def getPropertyDescriptors(self):
        return [
            self.DEVICES,
            self.TAG_LIST_FILE,
            self.TAG_LIST,
            self.SOURCE_NAME,
            self.POLL_INTERVAL,
            self.REQUEST_TIMEOUT,
            self.DEFAULT_BYTE_ORDER,
            self.MAX_REGISTERS,
            self.MAX_BITS,
            self.PAUSE,
            self.RECONNECT_DELAY,
            self.LONGEST_RECONNECT_DELAY,
            self.REFRESH_INTERVAL,
        ]

    def customValidate(self, context):
        return [ValidationResult(**problem) for problem in nifi.invalid("Modbus devices", context, _config)]

    def onScheduled(self, context):
        nifi.prepare(self._holder, context)

    def onStopped(self, context):
        self._holder.reset()

    def create(self, context):
        output = nifi.produce(self._holder, context, self.logger)
        if output is None:
            return None
        return FlowFileSourceResult(output.relationship, output.attributes, output.contents)
