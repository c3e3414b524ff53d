"""Influx line protocol, one line: examples after InfluxData's reference, and what is refused."""

from __future__ import annotations

import pytest

from otmirror.telegraf.lineprotocol import parse
from otmirror.telegraf.metric import Metric

NS = "1556813561098000000"
US = 1556813561098000


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"m f=1 {NS}", Metric("m", {}, {"f": ("double", 1.0)}, US)),
        (f"m,t1=v1,t2=v2 f=\"x\" {NS}", Metric("m", {"t1": "v1", "t2": "v2"}, {"f": ("string", "x")}, US)),
        (f"m f=1i,g=2u,h=-3i {NS}", Metric("m", {}, {"f": ("int64", 1), "g": ("uint64", 2), "h": ("int64", -3)}, US)),
        (f"m f=-1.5e+3,g=.5,h=2. {NS}", Metric("m", {}, {n: ("double", v) for n, v in
                                                       (("f", -1500.0), ("g", 0.5), ("h", 2.0))}, US)),
        (f"m a=t,b=T,c=true,d=True,e=TRUE {NS}", Metric("m", {}, dict.fromkeys("abcde", ("bool", True)), US)),
        (f"m a=f,b=F,c=false,d=False,e=FALSE {NS}", Metric("m", {}, dict.fromkeys("abcde", ("bool", False)), US)),
        # Escapes: comma and blank in the measurement; comma, equals sign and blank in tags and field names.
        (rf"my\ mea\,surement,t=v f=1 {NS}", Metric("my mea,surement", {"t": "v"}, {"f": ("double", 1.0)}, US)),
        (rf"m,t\ a\,g\=1=v\ a\,l\=2 f\ ie\,ld\==1 {NS}",
         Metric("m", {"t a,g=1": "v a,l=2"}, {"f ie,ld=": ("double", 1.0)}, US)),
        # A backslash before anything else is itself, and an equals sign in a measurement needs none.
        (rf"C:\dir=x,path=C:\temp\new f=1 {NS}",
         Metric(r"C:\dir=x", {"path": r"C:\temp\new"}, {"f": ("double", 1.0)}, US)),
        # A text: quotes and backslashes are escaped, commas, blanks, = and # stand for themselves.
        (rf'm f="say \"hi\", C:\\x \y = # {{}}" {NS}',
         Metric("m", {}, {"f": ("string", 'say "hi", C:\\x \\y = # {}')}, US)),
        (f'm f="",g="ünïcode 🛢" {NS}', Metric("m", {}, {"f": ("string", ""), "g": ("string", "ünïcode 🛢")}, US)),
        (f"météo,où=là f=1 {NS}", Metric("météo", {"où": "là"}, {"f": ("double", 1.0)}, US)),
        (f'm,"quoted"="x" f=1 {NS}', Metric("m", {'"quoted"': '"x"'}, {"f": ("double", 1.0)}, US)),
        ("m f=9223372036854775807i,g=18446744073709551615u,h=-9223372036854775808i -1",
         Metric("m", {}, {"f": ("int64", 2**63 - 1), "g": ("uint64", 2**64 - 1), "h": ("int64", -(2**63))}, -1)),
        ("  m   f=1   999  ", Metric("m", {}, {"f": ("double", 1.0)}, 0)),
    ],
)  # fmt: skip
def test_what_the_reference_describes(line, expected):
    assert parse(line) == expected


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", "a measurement is missing"),
        ("# a comment", "a comment"),
        (",t=v f=1 1", "character 1: a measurement is missing"),
        ("m", "character 2: a blank and fields are missing"),
        ("m 1", "a field without ="),
        ("m f=", "neither a number"),
        ("m f=1", "no timestamp"),
        ("m f=1 ", "no timestamp"),
        ("m f=1 now", "a timestamp is missing"),
        ("m f=1 1.5", "no number of nanoseconds"),
        ("m f=1 99999999999999999999", "no number of nanoseconds"),
        ("m f=1 9999999999999999999", "no number of nanoseconds"),
        ("m f=1 1 2", "no number of nanoseconds"),
        ("m, f=1 1", "a tag's name is missing"),
        ("m,t f=1 1", "a tag without ="),
        ("m,t= f=1 1", "a tag's value is missing"),
        ("m,t=1,t=2 f=1 1", "'t' is there twice"),
        ("m f=1,f=2 1", "'f' is there twice"),
        ("m f=1, 1", "a field"),
        ("m f=1,,g=2 1", "a field's name is missing"),
        ('m f="open 1', "the text has no end"),
        ('m f="x"y 1', "a blank and a timestamp"),
        ("m f=NaN 1", "neither a number"),
        ("m f=Inf 1", "neither a number"),
        ("m f=1e999 1", "too large"),
        ("m f=1x 1", "a blank and a timestamp"),
        ("m f=9223372036854775808i 1", "does not fit 64 bits"),
        ("m f=-1u 1", "does not fit 64 bits"),
        (f"m f={'9' * 5000}i 1", "does not fit 64 bits"),
        ("m f=tRue 1", "neither a number"),
        ("m f=٣ 1", "neither a number"),
        ("m\tx f=1 1", "a blank and fields are missing"),
        ("m,t=a\x00b f=1 1", "a blank and fields are missing"),
        ("2018-02-06 18:29:17.000000,3.27e7", "a field without ="),
    ],
)
def test_what_is_no_line_protocol_is_refused_with_its_place(line, reason):
    with pytest.raises(ValueError, match=r".") as caught:
        parse(line)
    assert reason in str(caught.value)


def test_a_long_hostile_line_is_refused_quickly():
    for line in (
        "\\" * 200_000,
        "m," + "\\," * 100_000,
        "m f=" + '"\\' * 100_000,
        "a" * 200_000 + "=",
        "m f=" + "1" * 200_000,
    ):
        with pytest.raises(ValueError, match=r"missing|no end|without|number"):
            parse(line)
