"""From a telegraf.conf to tag lists: expected rows after Telegraf's documentation of the two plugins."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from typer.testing import CliRunner

from otmirror.cli.app import app
from otmirror.errors import ConfigError
from otmirror.modbus.config import build
from otmirror.telegraf import conf
from otmirror.telegraf.imports import as_csv, read

DATA = Path(__file__).parent / "data"
CLI = CliRunner()

OPCUA = """
[agent]
  interval = "5s"
[[inputs.opcua]]
  endpoint = "opc.tcp://plc-7:4840"
  security_policy = "Basic256Sha256"
  security_mode = "Sign"
  certificate = "/etc/telegraf/cert.pem"
  auth_method = "UserName"
  username = "reader"
  password = "geheim"
  timestamp = "source"
  nodes = [
    {name="temp", namespace="3", identifier_type="s", identifier="Temperature"},
    {name="state", id="i=2259"},
    {name="uri", id="nsu=http://acme/;s=A;B"},
  ]
  [[inputs.opcua.group]]
    name = "pumps"
    namespace_uri = "urn:acme:50%;v=2"
    identifier_type = "i"
    default_tags = { site = "north", line = "1" }
    [[inputs.opcua.group.nodes]]
      name = "speed"
      identifier = "1001"
    [[inputs.opcua.group.nodes]]
      name = "speed"
      identifier_type = "g"
      identifier = "09087e75-8e5e-499b-954f-f2a9603db28a"
      default_tags = { line = "2" }
"""

REGISTER = """
[[inputs.modbus]]
  name = "meter"
  slave_id = 7
  interval = "500ms"
  timeout = "2s"
  controller = "tcp://10.0.0.5:1502"
  discrete_inputs = [ { name = "start", address = [0] } ]
  coils = [ { name = "run", address = [3], data_type = "BOOL", measurement = "motor" } ]
  holding_registers = [
    { name = "power_factor", byte_order = "AB",   data_type = "FIXED", scale=0.01,  address = [8]},
    { name = "energy",       byte_order = "ABCD", data_type = "FIXED", scale=0.001, address = [5,6]},
    { name = "frequency",    byte_order = "BA",   data_type = "UFIXED", scale=0.1,  address = [7]},
    { name = "power",        byte_order = "CDAB", data_type = "UFIXED", scale=1.0,  address = [3,4]},
    { name = "total",        byte_order = "GHEFCDAB", data_type = "UINT64", scale=1.0, address = [20,21,22,23]},
    { name = "real",         byte_order = "BADC", data_type = "FLOAT32-IEEE", scale=2.5, address = [30,31]},
    { name = "double",       byte_order = "HGFEDCBA", data_type = "FLOAT64-IEEE", scale=1.0, address = [32,33,34,35]},
    { name = "firmware",     byte_order = "AB",   data_type = "STRING", address = [40, 41, 42]},
    { name = "alarm",        byte_order = "AB",   data_type = "BIT", bit = 5, address = [50]},
    { name = "small",        byte_order = "AB",   data_type = "INT8L", scale=1.0, address = [51]},
    { name = "half",         byte_order = "AB",   data_type = "FLOAT16-IEEE", scale=1.0, address = [52]},
    { name = "gap",          byte_order = "ABCD", data_type = "INT32", scale=1.0, address = [60, 62]},
    { name = "short",        byte_order = "ABCD", data_type = "INT64", scale=1.0, address = [64, 65]},
    { name = "cut",          byte_order = "AB",   data_type = "INT16", scale=0.1, address = [66]},
    { name = "end",          byte_order = "ABCD", data_type = "INT32", scale=1.0, address = [65535, 65536]},
  ]
  input_registers = [ { name = "tank", byte_order = "AB", data_type = "INT16", scale=1.0, address = [0]} ]
"""

REQUEST = """
[global_tags]
  site = "north"
[[inputs.modbus]]
  name = "gateway"
  controller = "tcp://[fe80::1]"
  configuration_type = "request"
  name_prefix = "plc_"
  [[inputs.modbus.request]]
    slave_id = 1
    register = "coil"
    fields = [
      { address=0, name="run" }, { address=2, name="off", omit=true }, { address=1, name="jog", output="BOOL" },
    ]
  [[inputs.modbus.request]]
    slave_id = 2
    byte_order = "DCBA"
    fields = [
      { address=0, name="voltage", type="INT16",   scale=0.1 },
      { address=5, name="energy",  type="FLOAT32", measurement="W" },
      { address=9, name="label",   type="STRING",  length=8 },
      { address=20, name="bit",    type="BIT", bit=3 },
      { address=21, name="f16",    type="FLOAT16" },
      { address=22, name="whole",  type="UINT32", scale=0.5, output="UINT64" },
    ]
    [inputs.modbus.request.tags]
      machine = "press"
  [[inputs.modbus.request]]
    register = "input"
    fields = [ { address=0, name="unit0", type="UINT16" } ]
  [inputs.modbus.workarounds]
    pause_between_requests = "20ms"
    max_word_registers_per_request = 60
    one_request_per_field = true
"""


def listed(found):
    return list(csv.DictReader(io.StringIO(as_csv(found))))


def left(result):
    return {item.where: item.why for item in result.left}


def test_opcua_nodes_and_groups():
    result = read(OPCUA, "acme/{site|measurement}/{line|field}/{field}")
    (found,) = result.lists
    assert (found.file, result.left) == ("opcua-1.csv", [])
    assert [(row["tag"], row["address"]) for row in listed(found)] == [
        ("acme/opcua/temp/temp", "ns=3;s=Temperature"),
        ("acme/opcua/state/state", "i=2259"),
        ("acme/opcua/uri/uri", "nsu=http://acme/;s=A;B"),
        ("acme/north/1/speed", "nsu=urn:acme:50%25%3Bv=2;i=1001"),
        ("acme/north/2/speed", "nsu=urn:acme:50%25%3Bv=2;g=09087e75-8e5e-499b-954f-f2a9603db28a"),
    ]
    assert dict(found.settings) == {
        "opcua.endpoint": "opc.tcp://plc-7:4840",
        "opcua.security.policy": "Basic256Sha256",
        "opcua.security.mode": "Sign",
        "opcua.pki": "a folder with /etc/telegraf/cert.pem as own/cert.der (DER) and its key as own/key.pem",
        "opcua.username": "reader",
        "opcua.password": "the password of telegraf.conf, to be entered in NiFi",
        "poll.interval": "5 sec",
    }


def test_the_tag_id_is_named_as_telegraf_writes_it():
    (found,) = read(OPCUA, "{id}/{field}").lists
    assert [tag.tag for tag in found.tags][2:4] == ["nsu=http://acme/;s=A;B/uri", "nsu=urn:acme:50%;v=2;i=1001/speed"]


def test_nodes_with_the_same_tag_are_told():
    result = read(OPCUA)
    assert [row["tag"] for row in listed(result.lists[0])][-1] == "telegraf/pumps/speed"
    where, why = next(iter(left(result).items()))
    assert where == "inputs.opcua[1].group[1].nodes[2] 'speed'"
    assert "its tag 'telegraf/pumps/speed' is already that of inputs.opcua[1].group[1].nodes[1]" in why


@pytest.mark.parametrize(
    ("node", "why"),
    [
        ('{name="", id="i=1"}', "it has no name"),
        ('{name="a", id="x=1"}', "is no OPC UA node address"),
        ('{name="a", namespace="3", identifier="x"}', "it needs identifier_type"),
        ('{name="a", namespace="3", identifier_type="s"}', "it needs identifier_type"),
        ('{name="a", identifier_type="s", identifier="x"}', "exactly one of namespace and namespace_uri"),
        ('{name="a", namespace="1", namespace_uri="u", identifier_type="s", identifier="x"}', "exactly one of"),
        ('{name="a", namespace="x", identifier_type="i", identifier="1"}', "namespace index"),
        ('{name="Quality", id="i=1"}', "Telegraf adds a field Quality"),
        ('{name="a\\nb", id="i=1"}', "control character"),
        ('"i=1"', "it needs identifier_type"),
    ],
)
def test_a_node_that_cannot_be_carried_over_is_told(node, why):
    result = read(f'[[inputs.opcua]]\ntimestamp = "source"\nnodes = [{{name="good", id="i=5"}}, {node}]')
    assert [tag.tag for tag in result.lists[0].tags] == ["telegraf/opcua/good"]
    ((where, said),) = left(result).items()
    assert where.startswith("inputs.opcua[1].nodes[2] ")
    assert why in said


def test_what_else_of_opcua_is_not_carried_over():
    text = """
[[inputs.opcua_listener]]
  security_policy = "Basic256"
  auth_method = "Certificate"
  interval = "1ms"
  tagexclude = ["id"]
  [[inputs.opcua_listener.group]]
    namespace = "2"
    identifier_type = "s"
    sampling_interval = "250ms"
    nodes = [
      { name = "a", identifier = "A" },
      { name = "b", identifier = "B", monitoring_params = { sampling_interval = "1m30s", data_change_filter = { trigger = "Status", deadband_type = "Absolute", deadband_value = 0.5 } } },
      { name = "c", identifier = "C", monitoring_params = { data_change_filter = { trigger = "StatusValue", deadband_type = "Percent", deadband_value = 2.5 } } },
    ]
  [[inputs.opcua_listener.events]]
    namespace = "1"
  [inputs.opcua_listener.browse]
    root = "i=85"
[[inputs.cpu]]
[[processors.rename]]
[[aggregators.basicstats]]
"""  # noqa: E501
    result = read(text)
    assert listed(result.lists[0]) == [
        {"tag": "telegraf/opcua/a", "address": "ns=2;s=A", "interval_ms": "250", "deadband": ""},
        {"tag": "telegraf/opcua/b", "address": "ns=2;s=B", "interval_ms": "90000", "deadband": "0.5"},
        {"tag": "telegraf/opcua/c", "address": "ns=2;s=C", "interval_ms": "250", "deadband": "2.5%"},
    ]
    start = "inputs.opcua_listener[1]."
    assert set(left(result)) == {
        *(start + name for name in ("security_policy", "auth_method", "interval", "tagexclude", "events", "browse")),
        start + "timestamp", "inputs.cpu", "processors.rename", "aggregators.basicstats",
    }  # fmt: skip


def test_modbus_registers():
    result = read(REGISTER)
    (found,) = result.lists
    rows = {row.pop("tag").removeprefix("telegraf/meter/"): tuple(row.values()) for row in listed(found)}
    assert list(listed(found)[0]) == ["tag", "address", "type", "scale", "order"]
    assert rows == {
        "start": ("7:discrete:0", "bool", "", ""),
        "run": ("7:coil:3", "bool", "", ""),
        "power_factor": ("7:holding:8", "int16", "0.01", ""),
        "energy": ("7:holding:5", "int32", "0.001", ""),
        "frequency": ("7:holding:7", "uint16", "0.1", "DCBA"),
        "power": ("7:holding:3", "uint32", "", "CDAB"),
        "total": ("7:holding:20", "uint64", "", "CDAB"),
        "real": ("7:holding:30", "float", "2.5", "BADC"),
        "double": ("7:holding:32", "double", "", "DCBA"),
        "firmware": ("7:holding:40:3", "string", "", ""),
        "alarm": ("7:holding:50:5", "bool", "", ""),
        "cut": ("7:holding:66", "int16", "0.1", ""),
        "tank": ("7:input:0", "int16", "", ""),
    }
    told = {where.split()[-1].strip("'"): why for where, why in left(result).items()}
    assert set(told) == {"small", "half", "gap", "short", "cut", "end"}
    assert told["small"] == "the mirror has no type for INT8L"
    assert "not consecutive" in told["gap"]
    assert told["short"] == "INT64 takes 4 register(s), not 2"
    assert told["cut"] == "Telegraf cuts off its fraction, the mirror keeps it"
    assert "pass the end of the table" in told["end"]
    assert dict(found.settings) == {
        "modbus.devices": "10.0.0.5:1502", "poll.interval": "500 ms", "property Request Timeout": "2 sec",
    }  # fmt: skip
    build(found.settings[0][1], "s", None, as_csv(found))


def test_modbus_requests():
    result = read(REQUEST, "{site}/{measurement}/{machine|name}/{slave_id}/{type}/{field}")
    (found,) = result.lists
    assert [tuple(row.values()) for row in listed(found)] == [
        ("north/plc_modbus/gateway/1/coil/run", "1:coil:0", "bool", "", ""),
        ("north/plc_modbus/gateway/1/coil/jog", "1:coil:1", "bool", "", ""),
        ("north/plc_modbus/press/2/holding_register/voltage", "2:holding:0", "int16", "0.1", "DCBA"),
        ("north/plc_W/press/2/holding_register/energy", "2:holding:5", "float", "", "DCBA"),
        ("north/plc_modbus/press/2/holding_register/label", "2:holding:9:8", "string", "", "DCBA"),
        ("north/plc_modbus/press/2/holding_register/bit", "2:holding:20:3", "bool", "", "DCBA"),
        ("north/plc_modbus/press/2/holding_register/whole", "2:holding:22", "uint32", "0.5", "DCBA"),
    ]
    start = "inputs.modbus[1]"
    assert {where: why[:22] for where, why in left(result).items()} == {
        f"{start}.request[2].fields[5] 'f16'": "the mirror has no type",
        f"{start}.request[2].fields[6] 'whole'": "Telegraf cuts off its ",
        f"{start}, tag 'north/plc_modbus/gateway/0/input_register/unit0'": "unit 0 is the broadcas",
        f"{start}.workarounds.one_request_per_field": "the mirror has no such",
    }
    assert dict(found.settings) == {
        "modbus.devices": "[fe80::1]:502", "poll.interval": "10 sec", "property Pause Between Requests": "20 ms",
        "property Max Registers Per Request": "60",
    }  # fmt: skip
    build(found.settings[0][1], "s", None, as_csv(found))


def test_modbus_metrics_and_what_has_no_register_type():
    text = """
[[inputs.modbus]]
  name = "m"
  controller = "tcp://h:5020"
  configuration_type = "metric"
  exclude_register_type_tag = true
  [[inputs.modbus.metric]]
    slave_id = 3
    byte_order = "CDAB"
    fields = [
      { register="coil", address=0, name="door" },
      { address=1, name="current", type="INT32", scale=0.001 },
      { register="file", address=1, name="odd", type="INT32" },
    ]
"""
    result = read(text, "{name}/{type|measurement}/{field}")
    assert [tuple(row.values()) for row in listed(result.lists[0])] == [
        ("m/modbus/door", "3:coil:0", "bool", "", ""),
        ("m/modbus/current", "3:holding:1", "int32", "0.001", "CDAB"),
    ]
    assert "register 'file' is none of" in left(result)["inputs.modbus[1].metric[1].fields[3] 'odd'"]


@pytest.mark.parametrize(
    ("line", "where"),
    [
        ('controller = "file:///dev/ttyUSB0"', "controller"),
        ('controller = "COM1"', "controller"),
        ('controller = "tcp://h:99999"', "controller"),
        ('controller = "tcp://h:502"\ntransmission_mode = "RTUoverTCP"', "transmission_mode"),
        ('controller = "tcp://h:502"\nconfiguration_type = "other"', "configuration_type"),
    ],
)
def test_a_device_that_cannot_be_reached_is_told(line, where):
    result = read(f'[[inputs.modbus]]\n{line}\ncoils = [ {{ name = "a", address = [0] }} ]')
    assert result.lists == []
    assert [item.where for item in result.left] == [f"inputs.modbus[1].{where}", "inputs.modbus[1]"]


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        ("10s", "10 sec"), ("1m30s", "90 sec"), ("250ms", "250 ms"), (3, "3 sec"), (0.5, "500 ms"),
        ("1h", "3600 sec"), ("1d", "86400 sec"), ("10", "10 sec"),
    ],
)  # fmt: skip
def test_durations(duration, expected):
    assert conf.period(duration) == expected


@pytest.mark.parametrize("duration", ["soon", "-1s", "1s2", "5ms", "2d", "", "1e400", "nan"])
def test_durations_that_are_none(duration):
    with pytest.raises(ValueError, match=r"."):
        conf.period(duration)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[inputs.opcua", "not TOML"),
        ("[agent]\ninterval = ${INTERVAL}", "put ${VARIABLES} in quotes"),
        ("a = " + "[" * 5000, "not TOML"),
    ],
)
def test_a_file_that_is_not_toml(text, said):
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert said in str(caught.value)


ODD = (1, "x", True, [], {}, [1], [[]], [{}], {"a": 1}, 1.5)


@pytest.mark.parametrize("value", ODD, ids=repr)
def test_values_of_the_wrong_kind_are_told_and_never_raise(value):
    good = {"name": "m", "controller": "tcp://h:502", "coils": [{"name": "a", "address": [0]}]}
    request = {"register": "holding", "fields": [{"name": "a", "address": 0, "type": "INT16"}]}
    names = [
        "interval",
        "tags",
        "slave_id",
        "coils",
        "holding_registers",
        "request",
        "metric",
        "workarounds",
        "timeout",
    ]
    cases = [{**good, name: value} for name in names]
    cases += [{**good, "coils": [{"name": "a", name: value}]} for name in ("address", "name", "measurement")]
    cases += [
        {**good, "configuration_type": "request", "request": [{**request, name: value}]}
        for name in ("slave_id", "byte_order", "register", "fields", "tags", "measurement")
    ]
    fields = ("address", "type", "length", "bit", "scale", "output", "omit", "name")
    cases += [
        {**good, "configuration_type": "request", "request": [{"fields": [{**request["fields"][0], name: value}]}]}
        for name in fields
    ]
    from otmirror.telegraf import conf_modbus, conf_opcua
    from otmirror.telegraf.template import tag_template

    for table in cases:
        found: list[conf.Left] = []
        conf_modbus.read(conf.Input("modbus", 1, table, {}), 1, conf.Names(tag_template("{field}")), found)
    for name in ("nodes", "group", "default_tags", "name", "interval", "browse", "endpoint", "tags", "security_policy"):
        source = conf.Input("opcua", 1, {"nodes": [{"name": "a", "id": "i=1"}], name: value}, {"agent": value})
        conf_opcua.read(source, 1, conf.Names(tag_template("{field}")), [])


def test_the_command_writes_lists_that_check_accepts(tmp_path):
    done = CLI.invoke(app, ["taglist", "from-telegraf", str(DATA / "telegraf.conf"), "-o", str(tmp_path / "new")])
    assert done.exit_code == 0, done.output
    for name, tags in (("opcua-1.csv", 5), ("modbus-1.csv", 5), ("modbus-2.csv", 3)):
        assert f"{name}: {tags} tag(s) of inputs." in done.output.replace("\n", "")
        arguments = ["taglist", "check", str(tmp_path / "new" / name), "--protocol", name.split("-")[0]]
        checked = CLI.invoke(app, arguments)
        assert (checked.exit_code, f"{tags} tag(s), no mistakes" in checked.output) == (0, True)
    assert "set opcua.endpoint: opc.tcp://127.0.0.1:48400/otmirror/plant" in done.output
    assert "set modbus.devices: 127.0.0.1:5020" in done.output


def test_a_secret_is_never_shown(tmp_path):
    file = tmp_path / "telegraf.conf"
    file.write_text(OPCUA)
    done = CLI.invoke(app, ["taglist", "from-telegraf", str(file), "-o", str(tmp_path)])
    assert done.exit_code == 0
    assert "reader" in done.output
    assert "geheim" not in done.output


def test_the_command_fails_only_when_nothing_could_be_imported(tmp_path):
    file = tmp_path / "telegraf.conf"
    file.write_text("[[inputs.cpu]]\n")
    done = CLI.invoke(app, ["taglist", "from-telegraf", str(file), "-o", str(tmp_path)])
    assert done.exit_code == 1
    assert "not carried over: inputs.cpu: the mirror reads OPC UA and Modbus only" in done.output
    assert list(tmp_path.glob("*.csv")) == []


def test_the_command_names_the_file_it_cannot_use(tmp_path):
    missing = CLI.invoke(app, ["taglist", "from-telegraf", str(tmp_path / "none.conf")])
    assert isinstance(missing.exception, ConfigError)
    assert f"{tmp_path / 'none.conf'} cannot be read: No such file" in str(missing.exception)
    file = tmp_path / "bad.conf"
    file.write_text("[[")
    bad = CLI.invoke(app, ["taglist", "from-telegraf", str(file)])
    assert str(bad.exception).startswith(f"{file}: not TOML")


def test_a_tag_that_no_mqtt_topic_can_hold_is_warned_of(tmp_path):
    file = tmp_path / "tags.csv"
    file.write_text("tag,address\nacme/P+T,i=1\nacme/ok,i=2\nacme/#3,i=3\n")
    done = CLI.invoke(app, ["taglist", "check", str(file), "--protocol", "opcua"])
    assert done.exit_code == 0
    assert "3 tag(s), no mistakes" in done.output
    assert "line 2, column tag: warning: 'acme/P+T' holds +" in done.output
    assert "line 4, column tag: warning: 'acme/#3' holds #" in done.output
    assert "acme/ok" not in done.output
    file.write_text("tag,address\nacme/a\0b,i=1\n")
    assert CLI.invoke(app, ["taglist", "check", str(file), "--protocol", "opcua"]).exit_code == 1
