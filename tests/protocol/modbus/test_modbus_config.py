import pytest

from otmirror.errors import MistakesError
from otmirror.modbus.config import ModbusConfig, build, parse_devices

LIST = "tag,address,type\na,1:holding:0,float\n"


@pytest.mark.parametrize(
    ("text", "devices"),
    [
        ("plc7", {"plc7:502": ("plc7", 502)}),
        ("10.1.2.3:1502", {"10.1.2.3:1502": ("10.1.2.3", 1502)}),
        ("a=h:1, b=i", {"a": ("h", 1), "b": ("i", 502)}),
        ("[::1]:5020", {"::1:5020": ("::1", 5020)}),
        (" x = [fe80::1] ,", {"x": ("fe80::1", 502)}),
    ],
)
def test_devices(text, devices):
    assert parse_devices(text) == devices


def test_all_mistakes_in_devices_at_once():
    with pytest.raises(MistakesError) as caught:
        parse_devices("a=h:0, b=i:70000, c d=e, host:1, a=x, a=y, z=y")
    assert len(caught.value.problems) == 6
    with pytest.raises(MistakesError, match="declares no device"):
        parse_devices(" , ")


def test_defaults():
    config = build("plc:1502", tag_list=LIST)
    assert (config.source, config.interval_ms, config.timeout) == ("modbus:plc:1502", 1000, 1.0)


def test_every_mistake_is_reported_at_once():
    with pytest.raises(MistakesError) as caught:
        build("plc", tag_list=LIST + "b,9:nothing:1,\n", interval_ms=0, timeout=100.0, max_registers=126, order="AB")
    text = str(caught.value)
    for part in ("Poll Interval", "Request Timeout", "Max Registers Per Request", "Default Byte Order", "line 3"):
        assert part in text
    assert len(caught.value.problems) == 5


def test_exactly_one_tag_list(tmp_path):
    for file, text in [(None, None), ("x.csv", LIST)]:
        with pytest.raises(MistakesError, match="set exactly one of the two"):
            build("plc", tag_list_file=file, tag_list=text)
    with pytest.raises(MistakesError, match=r"cannot be read: No such file"):
        build("plc", tag_list_file=str(tmp_path / "absent.csv"))
    (tmp_path / "tags.csv").write_text(LIST)
    assert build("plc", tag_list_file=str(tmp_path / "tags.csv")).tags[0].tag == "a"


def test_unit_0_only_alone_on_its_device():
    assert build("plc", tag_list="tag,address,type\na,0:holding:0,float\n").tags
    with pytest.raises(MistakesError, match=r"line 3, column address: unit 0 is the broadcast address"):
        build("plc", tag_list=LIST + "b,0:holding:0,float\n")
    assert build("a=h, b=i", tag_list="tag,address,type\na,a/0:holding:0,float\nb,b/3:holding:0,float\n").tags


def test_a_message_with_very_many_mistakes_stays_short():
    with pytest.raises(MistakesError, match=r"\.\.\. and 981 more$") as caught:
        build("plc", tag_list="tag,address,type\n" + "".join(f"t{i},x,int16\n" for i in range(1000)), timeout=100.0)
    assert len(caught.value.problems) == 1001


def test_a_longest_delay_below_the_first():
    with pytest.raises(MistakesError, match="Longest Reconnect Delay: 1 s is not between 2"):
        ModbusConfig({}, "s", [], reconnect_first=2.0, reconnect_longest=1.0)


def test_what_modbus_cannot_do_of_a_tag_list():
    rows = (
        "tag,address,type,deadband,range,mode,sampling_ms\n"
        "a,1:holding:0,int16,2%,0..16,,\nb,1:holding:1,int16,2%,,,\nc,1:holding:2,int16,,,poll,\n"
        "d,1:holding:3,int16,,,subscribe,100\ne,9:nothing:1,,,,,\n"
    )
    with pytest.raises(MistakesError) as caught:
        build("plc", tag_list=rows)
    told = [problem.partition(": ") for problem in caught.value.problems]
    assert [where for where, _, _ in told] == [
        "Tag List line 3, column deadband", "Tag List line 4, column mode", "Tag List line 5, column mode",
        "Tag List line 5, column sampling_ms", "Tag List line 6, column address",
    ]  # fmt: skip
    assert told[0][2].startswith("2% of what? A Modbus device knows no range: put it into the column range")
    assert "is for OPC UA: Modbus has no subscriptions" in told[1][2]
