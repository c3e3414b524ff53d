"""Incumbents' exports, written as their documents show them, and what is wrong with one in a clear line."""

from __future__ import annotations

import gzip
import sqlite3
from datetime import datetime, timezone
from pathlib import Path

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from otmirror.cli.app import app
from otmirror.compare import profiles
from otmirror.compare.options import parse_window
from otmirror.compare.sources import opened
from otmirror.errors import ConfigError, MirrorError

WINDOW = "2026-10-25"


def utc(hour: int, minute: int = 0, second: float = 0.0) -> int:
    whole = datetime(2026, 10, 25, hour, minute, tzinfo=timezone.utc)
    return round(whole.timestamp() * 1_000_000 + second * 1_000_000)


def read(path: Path, profile: str, zone: str | None = None, window: str = WINDOW) -> list[tuple]:
    """Return (tag, microseconds, value or None, quality) of a file."""
    source = opened("left", str(path), profile, zone, {}.get)
    batches = list(source.batches(parse_window(window, datetime.now(timezone.utc))))
    table = pa.concat_tables([pa.Table.from_batches([batch]) for batch in batches]) if batches else None
    rows = table.select(["tag", "ts", "value", "quality"]).to_pylist() if table else []
    return [(r["tag"], r["ts"], None if r["value"] != r["value"] else r["value"], r["quality"]) for r in rows]


def written(tmp_path: Path, text: str, name: str = "export.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_pi_by_piconfig(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "* piconfig, table piarc\n"
        "SINUSOID,25-Oct-26 00:00:00.00000,41.5,0\n"
        "SINUSOID,25-Oct-26 00:10:00.25000,Bad Input,-255\n"
        "SINUSOID,25-OCT-26 00:20:00,I/O Timeout,-246\n"
        "CDT158,25-Oct-26 04:00:00.00000,Pt Created,-253\n"
        "CDT158,25-Oct-26 04:00:30.00000,1.25e2,0\n"
        "* End\n",
    )
    # Oslo: summer time until 01:00 UTC, which is 03:00 there.
    assert read(path, "pi", "Europe/Oslo", "2026-10-24T20:00Z..2026-10-25T12:00Z") == [
        ("SINUSOID", utc(0) - 2 * 3600 * 1_000_000, 41.5, 2),
        ("SINUSOID", utc(0, 10, 0.25) - 2 * 3600 * 1_000_000, None, 0),
        ("SINUSOID", utc(0, 20) - 2 * 3600 * 1_000_000, None, 0),
        ("CDT158", utc(3), None, 0),
        ("CDT158", utc(3, 0, 30), 125.0, 2),
    ]


def test_pi_datalink(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "Tag,Time,Value\nFIC101.PV,2026-10-25 06:00:00,12.5\nFIC101.PV,2026-10-25 06:01:00,No Data\n",
    )
    assert read(path, "pi-datalink", "UTC") == [("FIC101.PV", utc(6), 12.5, 2), ("FIC101.PV", utc(6, 1), None, 0)]


def test_aveva_history(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "DateTime,TagName,Value,vValue,Quality,QualityDetail,OPCQuality\n"
        "2026-10-25 15:40:01.0000000,Temp1,78,78,0,192,192\n"
        "2026-10-25 15:40:31.1234567,Temp1,NULL,NULL,1,24,0\n"
        "2026-10-25 15:41:01.0000000,Temp1,77.5,77.5,16,64,64\n"
        "2026-10-25 15:41:31.0000000,Temp1,77,77,133,65,192\n",
    )
    assert read(path, "aveva", "UTC") == [
        ("Temp1", utc(15, 40, 1), 78.0, 2),
        ("Temp1", utc(15, 40, 31.123456), None, 0),
        ("Temp1", utc(15, 41, 1), 77.5, 1),
        ("Temp1", utc(15, 41, 31), 77.0, 2),
    ]


def test_canary_rows(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "Tag,Timestamp,Value,Quality\nPlant.T1,2026-10-25T07:00:00Z,5.5,192\nPlant.T1,2026-10-25T07:00:05Z,5.6,64\n"
        "Plant.T1,2026-10-25T07:00:10Z,#VALUE!,0\n",
    )
    assert read(path, "canary") == [
        ("Plant.T1", utc(7), 5.5, 2), ("Plant.T1", utc(7, 0, 5), 5.6, 1), ("Plant.T1", utc(7, 0, 10), None, 0),
    ]  # fmt: skip


def test_ignition_query_as_csv(tmp_path: Path) -> None:
    ms = utc(8) // 1000
    path = written(
        tmp_path,
        "tagpath,t_stamp,value,dataintegrity\n"
        f"pad/p1,{ms},4.25,192\npad/p1,{ms + 1500},null,0\npad/p1,{ms + 3000},4,512\n",
    )
    assert read(path, "ignition") == [
        ("pad/p1", utc(8), 4.25, 2), ("pad/p1", utc(8, 0, 1.5), None, 0), ("pad/p1", utc(8, 0, 3), 4.0, 0),
    ]  # fmt: skip


def ignition_database(path: Path, table: str = "sqlt_data_1_2026_10") -> Path:
    """The tables as Inductive Automation's reference lists them."""
    with sqlite3.connect(path) as db:
        db.executescript(
            "CREATE TABLE sqlth_te (id INTEGER, tagpath TEXT, scid INTEGER, datatype INTEGER, querymode INTEGER,"
            " created INTEGER, retired INTEGER);"
            "CREATE TABLE sqlth_partitions (pname TEXT, drvid INTEGER, start_time INTEGER, end_time INTEGER,"
            " blocksize INTEGER, flags INTEGER);"
            f'CREATE TABLE "{table}" (tagid INTEGER, intvalue INTEGER, floatvalue REAL, stringvalue TEXT,'
            " datevalue INTEGER, dataintegrity INTEGER, t_stamp INTEGER);"
        )
        ms = utc(0) // 1000
        db.execute("INSERT INTO sqlth_partitions VALUES (?,1,?,?,0,0)", (table, ms - 86_400_000, ms + 86_400_000 * 6))
        db.executemany("INSERT INTO sqlth_te VALUES (?,?,1,?,0,0,NULL)", [(1, "pad/p1", 1), (2, "pad/valve", 0)])
        db.executemany(
            f'INSERT INTO "{table}" VALUES (?,?,?,NULL,NULL,?,?)',
            [(1, None, 4.25, 192, ms), (1, None, None, 0, ms + 1000), (2, 1, None, 192, ms + 2000),
             (1, None, 9.0, 192, ms - 1)],
        )  # fmt: skip
    return path


def test_ignition_tables_in_sqlite(tmp_path: Path) -> None:
    path = ignition_database(tmp_path / "history.db")
    before = path.read_bytes()
    assert read(path, "ignition-sql") == [
        ("pad/p1", utc(0), 4.25, 2), ("pad/p1", utc(0, 0, 1), None, 0), ("pad/valve", utc(0, 0, 2), 1.0, 2),
    ]  # fmt: skip
    assert path.read_bytes() == before


def test_a_table_name_of_the_database_is_not_trusted(tmp_path: Path) -> None:
    path = ignition_database(tmp_path / "history.db")
    with sqlite3.connect(path) as db:
        db.execute("UPDATE sqlth_partitions SET pname = 'sqlth_te\" UNION SELECT 1,2,3,4 --'")
    with pytest.raises(ConfigError, match="not put into a query"):
        read(path, "ignition-sql")


def test_decimal_commas_semicolons_and_gzip(tmp_path: Path) -> None:
    own = written(
        tmp_path,
        'tag = "Navn"\ntime = "Tid"\nvalue = "Verdi"\nformats = ["%d.%m.%Y %H:%M:%S"]\nzone = "Europe/Oslo"\n'
        'delimiter = ";"\ndecimal = ","\nencoding = "latin-1"\n[states]\nbad = ["Ugyldig"]\n'
        '[numbers]\n"Åpen" = 1\n"Stengt" = 0.5\n',
        "own.toml",
    )
    path = tmp_path / "export.csv.gz"
    path.write_bytes(gzip.compress("Navn;Tid;Verdi\nTrykk-Ø;25.10.2026 12:00:00,500;-1,5\n"
                                   "Trykk-Ø;25.10.2026 12:00:01;Ugyldig\nVentil;25.10.2026 12:00:02;Åpen\n"
                                   "Ventil;25.10.2026 12:00:03; Stengt\n".encode("latin-1")))  # fmt: skip
    assert read(path, str(own)) == [
        ("Trykk-Ø", utc(11, 0, 0.5), -1.5, 2), ("Trykk-Ø", utc(11, 0, 1), None, 0), ("Ventil", utc(11, 0, 2), 1.0, 2),
        ("Ventil", utc(11, 0, 3), 0.5, 2),
    ]  # fmt: skip


def test_a_wide_file(tmp_path: Path) -> None:
    path = written(tmp_path, "timestamp,P,T,class\n2026-10-25 00:00:01.000000,3.2e7,,0\n")
    assert read(path, "wide") == [("P", utc(0, 0, 1), 3.2e7, 2), ("T", utc(0, 0, 1), None, 0)]


GOOD = "tag,time,value,quality\na,2026-10-25T00:00:00Z,1,good\n"
WRONG = {
    "empty": ("", "generic", "export.csv: is empty"),
    "no rows": ("tag,time,value,quality\n", "generic", "there are no samples in 2026-10-25"),
    "another window": ("tag,time,value\na,2025-01-01T00:00:00Z,1\n", "generic", "there are no samples"),
    "wrong profile": (GOOD, "aveva", "export.csv:1: there is no column DateTime, TagName, Value, Quality"),
    "wrong columns": ("a,b,c,d,e,f\n", "pi", "export.csv:1: has 6 columns, profile pi has 4"),
    "time": (GOOD + "b,2026-10-25T00:00:00Z,1,good\nb,yesterday,1,good\n", "generic", "export.csv:4: time 'yesterday'"),
    "no time": (GOOD + "b,,1,good\n", "generic", "export.csv:3: time '' is no time"),
    "no zone": ("tag,time,value\na,2026-10-25T00:00:00,1\n", "generic",
                "export.csv:2: time '2026-10-25T00:00:00' names no"),
    "mixed zones": (GOOD + "a,2026-10-25T00:00:10,1,good\n", "generic",
                    "export.csv:3: time '2026-10-25T00:00:10' has no zone"),
    "value": (GOOD + "a,2026-10-25T00:00:10Z,1O,good\n", "generic",
              "export.csv:3: value '1O' is no number and no state"),
    "comma": (GOOD + 'a,2026-10-25T00:00:10Z,"1,5",good\n', "generic", "export.csv:3: value '1,5'"),
    "quality": (GOOD + "a,2026-10-25T00:00:10Z,1,GUT\n", "generic", "export.csv:3: quality 'GUT' is no quality"),
    "no tag": (GOOD + ",2026-10-25T00:00:10Z,1,good\n", "generic", "export.csv:3: tag '' has no tag"),
    "short row": (GOOD + "a,2026-10-25T00:00:10Z\n", "generic", "export.csv:3: has 2 columns, the others have 4"),
    "twice": ("tag,time,value,value\n", "generic", "export.csv:1: a column's name comes twice"),
}  # fmt: skip


@pytest.mark.parametrize("case", list(WRONG))
def test_a_wrong_file_is_one_line_with_its_place(case: str, tmp_path: Path) -> None:
    text, profile, expected = WRONG[case]
    bad = written(tmp_path, text)
    good = written(tmp_path, GOOD, "good.csv")
    done = CliRunner().invoke(
        app,
        ["compare", "--left", str(bad), "--left-profile", profile, "--right", str(good), "--window", WINDOW],
    )
    assert isinstance(done.exception, MirrorError), done.output
    assert expected in str(done.exception)
    assert "\n" not in str(done.exception)


def test_the_hour_that_comes_twice(tmp_path: Path) -> None:
    text = "Tag,Time,Value\nA,2026-10-25 02:30:00,1\n"
    path = written(tmp_path, text)
    with pytest.raises(ConfigError, match=r"export.csv:2: Time '2026-10-25 02:30:00' happens twice in Europe/Oslo"):
        read(path, "pi-datalink", "Europe/Oslo")
    own = written(tmp_path, 'tag = "Tag"\ntime = "Time"\nvalue = "Value"\nambiguous = "latest"\n', "own.toml")
    assert read(path, str(own), "Europe/Oslo")[0][1] == utc(1, 30)


def test_other_mistakes_of_the_command(tmp_path: Path) -> None:
    good = str(written(tmp_path, GOOD, "good.csv"))
    map_ = str(written(tmp_path, "left,right\na,b\nc,b\n", "map.csv"))
    absent = str(written(tmp_path, "left,right\nx,y\n", "absent.csv"))
    limits = str(written(tmp_path, "[same]\ntime = 3\n[gate]\nmax_tags = { nonsense = 1 }\n", "limits.toml"))
    cases = {
        ("--left", "nowhere.csv", "--right", good): "--left: there is no file nowhere.csv",
        ("--left", good, "--right", good, "--left-profile", "wonder"): "no profile of that name: aveva, canary",
        ("--left", good, "--right", good, "--left-profile", "ignition-sql"): "is for sqlite files",
        ("--left", good, "--right", good, "--left-zone", "Mars/Base"): "'Mars/Base' is no zone",
        ("--left", good, "--right", good, "--window", "2026-13-01"): "--window:",
        ("--left", good, "--right", good, "--window", "2026-10-25T00:00..2026-10-26T00:00"): "says no zone",
        ("--left", good, "--right", good, "--tag-map", map_): "map.csv:3: b comes twice",
        ("--left", good, "--right", good, "--tag-map", absent): "neither side has samples of x = y",
        ("--left", good, "--right", good, "--tags", "^nothing$"): "--tags: no tag of either side matches",
        ("--left", good, "--right", good, "--tags", "("): "is no regular expression",
        ("--left", good, "--right", good, "--cutover"): "needs --days",
        ("--left", good, "--right", good, "--thresholds", limits): "[same] has no time; it may have value_relative",
        ("--left", good, "--right", good, "--thresholds", limits, "--tags", "a"): "nonsense is no kind of finding",
        ("--left", "http://u:secret@127.0.0.1:1", "--right", good): "holds a user",
        ("--left", "http://127.0.0.1:1", "--right", good): "cannot be read",
        ("--left", f"iceberg:{tmp_path}", "--right", good): "--left: there is no catalog.db",
    }
    for arguments, expected in cases.items():
        window = () if "--window" in arguments else ("--window", WINDOW)
        done = CliRunner().invoke(app, ["compare", *arguments, *window])
        assert isinstance(done.exception, MirrorError), (arguments, done.output)
        assert expected in str(done.exception)
        assert "secret" not in str(done.exception)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nonsense = 1", "unknown key 'nonsense'"),
        ("delimiter = 'ab'", "delimiter has to be one character"),
        ("formats = ['%Y-%m-%d %H:%M:%S.%f']", "without %f"),
        ("formats = 'iso'", "formats has to be a list of texts"),
        ("[qualities]\nfine = ['x']", "[qualities] may have the lists good, uncertain, bad only"),
        ("kind = 'sqlite'\ntables = 'DROP TABLE x'\nquery = 'SELECT 1; DROP TABLE x'", "has to be one SELECT"),
        ("[numbers]\nOPEN = true", "[numbers] has to give a number for each text"),
        ("kind = ", "profile"),
    ],
)
def test_a_profile_of_ones_own_is_checked(text: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as told:
        profiles.load(str(written(tmp_path, text, "own.toml")))
    assert expected in str(told.value)


def test_every_profile_that_comes_with_the_command_is_one() -> None:
    names = profiles.names()
    assert {"pi", "pi-datalink", "aveva", "ignition", "ignition-sql", "canary"} <= set(names)
    for name in names:
        profile = profiles.load(name)
        assert profile.documented or name in ("generic", "wide")


@pytest.mark.parametrize("name", ["broken.csv.gz", "picture.csv", "not.db"])
def test_a_file_of_another_kind_is_one_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    whole = gzip.compress((GOOD * 2000).encode())
    path.write_bytes(whole[: len(whole) // 2] if name.endswith(".gz") else bytes(range(256)) * 900)
    done = CliRunner().invoke(
        app,
        ["compare", "--left", str(path), "--right", str(written(tmp_path, GOOD, "g.csv")), "--window", WINDOW],
    )
    assert isinstance(done.exception, MirrorError), done.output
    assert name in str(done.exception)
    assert str(done.exception).isprintable()


def test_nan_and_infinity_are_no_values(tmp_path: Path) -> None:
    rows = "".join(f"a,2026-10-25T00:00:0{n}Z,{text},good\n" for n, text in enumerate(("nan", "inf", "-Infinity", "2")))
    path = written(tmp_path, "tag,time,value,quality\n" + rows)
    assert [(row[2], row[3]) for row in read(path, "generic")] == [(None, 0), (None, 0), (None, 0), (2.0, 2)]


def test_names_of_tags_are_shown_and_not_run(tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)>|`x`[a](http://b)"
    rows = "".join(f'"{evil}",2026-10-25T{n:02d}:00:00Z,{n}\n' for n in range(20))
    left = written(tmp_path, "tag,time,value\n" + rows, "left.csv")
    right = written(tmp_path, "tag,time,value\nb,2026-10-25T00:00:00Z,1\n", "right.csv")
    out = tmp_path / "out"
    CliRunner().invoke(
        app, ["compare", "--left", str(left), "--right", str(right), "--window", WINDOW, "--out", str(out)]
    )
    page, text = (out / "report.html").read_text(), (out / "report.md").read_text()
    assert "<img" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert "<img" not in text
    assert "\\|\\`x\\`\\[a\\]" in text
