"""Tag lists: what is accepted, and that every mistake is named at once with its line."""

import pytest

from otmirror import taglist

HEADER = "tag,address,type,unit,interval_ms,deadband,scale,offset,order,description\n"


def problems(text, check=None):
    with pytest.raises(taglist.TagListError) as caught:
        taglist.parse(text, "tags.csv", check)
    return [str(problem) for problem in caught.value.problems]


def test_a_complete_row():
    row = 'acme/P,1:holding:0,float,bar,500,0.1,2,-1,cdab,"a, b"\n'
    assert taglist.parse(HEADER + row) == [
        taglist.Tag("acme/P", "1:holding:0", "float", "bar", 500, 0.1, 2.0, -1.0, "CDAB", "a, b", 2)
    ]


RULES = "tag,address,deadband,exc_min_ms,exc_max_ms,range,mode,sampling_ms\n"


def test_the_rules_of_when_a_tag_is_sent():
    rows = "a,x,2%,500,60000,-5.5 .. 1e3,Subscribe,0\nb,x,0.25 %,0,0,,poll,\nc,x,0.1,,,0..16,,250\n"
    a, b, c = taglist.parse(RULES + rows)
    assert (a.deadband, a.deadband_percent, a.low, a.high) == (None, 2.0, -5.5, 1000.0)
    assert (a.exc_min_ms, a.exc_max_ms, a.mode, a.sampling_ms) == (500, 60_000, "subscribe", 0)
    assert (b.deadband, b.deadband_percent, b.low, b.high, b.mode) == (None, 0.25, None, None, "poll")
    assert (b.exc_min_ms, b.exc_max_ms, b.sampling_ms) == (0, 0, None)
    assert (c.deadband, c.deadband_percent, c.exc_min_ms, c.exc_max_ms, c.mode) == (0.1, None, None, None, None)
    assert (c.low, c.high, c.sampling_ms) == (0.0, 16.0, 250)


def test_every_mistake_in_the_rules_is_reported_at_once():
    rows = [
        "a,x,120%,,,,,", "b,x,-1%,,,,,", "c,x,%,,,,,", "d,x,5%%,,,,,", "e,x,nan%,,,,,", "f,x,,-1,,,,", "g,x,,,1.5,,,",
        "h,x,,2000,1000,,,", "i,x,,,,16,,", "j,x,,,,16..0,,", "k,x,,,,1..1,,", "l,x,,,,0..inf,,", "m,x,,,,a..b,,",
        "n,x,,,,,listen,", "o,x,,,,,,86400001", "p,x,,,,,poll,100", "q,x,5%%,x,y,z,v,w",
    ]  # fmt: skip
    found = problems(RULES + "\n".join(rows) + "\n")
    columns = ["deadband"] * 5 + ["exc_min_ms", "exc_max_ms", "exc_max_ms"] + ["range"] * 5
    columns += ["mode", "sampling_ms", "sampling_ms"]
    columns += ["deadband", "range", "exc_min_ms", "exc_max_ms", "mode", "sampling_ms"]
    lines = [*range(2, 18), *[18] * 6]
    expected = [f"line {line}, column {column}" for line, column in zip(lines, columns, strict=True)]
    assert [entry.split(":")[0] for entry in found] == expected
    assert found[0].endswith("120% is more than the whole range")
    assert found[7].endswith("1000 is below exc_min_ms, which is 2000")
    assert "low..high, such as 0..16" in found[8]
    assert "mode is poll: interval_ms says how often" in found[15]


def test_what_a_protocol_cannot_do_of_a_row_is_named_with_the_other_mistakes():
    def check_row(tag):
        if tag.mode:
            yield taglist.Problem(tag.line, "mode", "there is none")

    with pytest.raises(taglist.TagListError) as caught:
        taglist.parse(
            "tag,address,mode\na,x,poll\nb,,\nc,bad,poll\n",
            "t",
            lambda t: "no" if t.address == "bad" else None,
            check_row,
        )
    assert [str(problem).split(":")[0] for problem in caught.value.problems] == [
        "line 2, column mode", "line 3, column address", "line 4, column address", "line 4, column mode",
    ]  # fmt: skip


def test_two_columns_are_enough():
    assert taglist.parse("address,tag\nns=2;s=P,acme/P\n") == [taglist.Tag("acme/P", "ns=2;s=P", line=2)]


def test_what_spreadsheets_write_is_read():
    text = "\ufefftag\taddress\r\nä/P\tns=2;s=P\r\n\t\r\n".encode()
    assert [tag.tag for tag in taglist.parse(text)] == ["ä/P"]
    assert taglist.parse("tag;address\na;ns=2\n")[0].address == "ns=2"


def test_every_mistake_is_reported_at_once_with_its_line():
    rows = [
        "a,x,,,,,,,,",
        "a,y,,,,,,,,",
        ",,,,,,,,,",
        ",z,,,,,,,,",
        "b,,,,,,,,,",
        "c,x,floot,,,,,,,",
        "d,x,,,0,,,,,",
        "e,x,,,1.5,,,,,",
        "f,x,,,,-1,,,,",
        "g,x,,,,,0,,,",
        "h,x,,,,,,nan,,",
        "i,x,,,,,,,ABDC,",
        "j,x,,,,,,,,d,extra",
    ]
    found = problems(HEADER + "\n".join(rows) + "\n")
    assert [entry.split(":")[0] for entry in found] == [
        "line 3, column tag",
        "line 5, column tag",
        "line 6, column address",
        "line 7, column type",
        "line 8, column interval_ms",
        "line 9, column interval_ms",
        "line 10, column deadband",
        "line 11, column scale",
        "line 12, column offset",
        "line 13, column order",
        "line 14",
    ]
    assert "already declared in line 2" in found[0]


def test_the_protocol_may_object_to_an_address():
    found = problems("tag,address\na,bad\nb,good\n", lambda t: "no such thing" if t.address == "bad" else None)
    assert found == ["line 2, column address: no such thing"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the list is empty"),
        (b"\n\n", "the list is empty"),
        (b"tag,address\n", "declares no tag"),
        (b"tag,adress\na,b\n", "column address: this column is missing"),
        (b"tag,address,colour\na,b,c\n", "column colour: unknown column"),
        (b"tag,address,tag\na,b,c\n", "column tag: this column appears twice"),
        (b"tag,address\na,\xff\n", "line 2: byte 14 is not UTF-8"),
        ("tag,address\n\u00b2,\u00b2\n".encode("utf-16"), "not UTF-8"),
    ],
)
def test_a_file_that_is_no_tag_list(content, message):
    assert message in "; ".join(problems(content))


@pytest.mark.parametrize(("cell", "good"), [(9, False), (10, True), (86400000, True), (86400001, False)])
def test_an_interval_is_10_ms_to_one_day(cell, good):
    text = f"tag,address,interval_ms\na,b,{cell}\n"
    if good:
        assert taglist.parse(text)[0].interval_ms == cell
    else:
        message = "is not a whole number of milliseconds from 10 to 86400000 (one day)"
        assert problems(text) == [f"line 2, column interval_ms: '{cell}' {message}"]


def test_an_interval_of_any_length_is_told():
    assert "column interval_ms" in problems("tag,address,interval_ms\na,b," + "9" * 5000 + "\n")[0]


def test_a_superscript_digit_is_no_number():
    assert "interval_ms" in problems("tag,address,interval_ms\na,b,\u00b2\n")[0]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(taglist.TagListError, match=r"nowhere\.csv .*No such file"):
        taglist.load(tmp_path / "nowhere.csv")


def test_the_message_stays_short():
    text = "tag,address\n" + "a,b\n" * 1000
    with pytest.raises(taglist.TagListError, match="and 979 more"):
        taglist.parse(text)
