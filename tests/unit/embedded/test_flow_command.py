"""What a user gives `otmirror flow`: parameters, addresses, files."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from otmirror.cli.flow import collect, flow_file
from otmirror.embedded.processes import free_port
from otmirror.errors import ConfigError, UnavailableError
from otmirror.flow.client import NifiApi
from otmirror.workspace import PROJECT


def test_parameters_come_from_file_line_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "site.env"
    file.write_text("# our plant\nopcua.endpoint = opc.tcp://plc:4840/a=b\n\npoll.interval=1 sec\n")
    monkeypatch.setenv("OPC_PASSWORD", "geheim")
    values = collect(file, ["poll.interval=2 sec", "empty="], ["opcua.password=OPC_PASSWORD"])
    assert values == {
        "opcua.endpoint": "opc.tcp://plc:4840/a=b",
        "poll.interval": "2 sec",
        "empty": "",
        "opcua.password": "geheim",
    }


@pytest.mark.parametrize(
    ("file", "given", "secret", "message"),
    [
        (None, ["a=1", "hush-hush"], [], "--param number 2: write NAME=VALUE"),
        (None, [], ["p=NOT_SET_ANYWHERE"], "--secret p: the environment variable NOT_SET_ANYWHERE is not set"),
        ("x=1\nhush-hush\n", [], [], "site.env line 2: write NAME=VALUE"),
    ],
)
def test_a_bad_parameter_is_named_but_never_shown(
    tmp_path: Path, file: str | None, given: list[str], secret: list[str], message: str
) -> None:
    path = tmp_path / "site.env"
    if file:
        path.write_text(file)
    with pytest.raises(ConfigError) as told:
        collect(path if file else None, given, secret)
    assert message in str(told.value)
    assert "hush" not in str(told.value)


def test_a_missing_parameter_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"parameter file .*none: No such file or directory"):
        collect(tmp_path / "none", [], [])


def test_a_flow_is_a_file_or_a_name() -> None:
    assert flow_file("pilot") == PROJECT / "flows" / "pilot.json"
    assert flow_file("elsewhere/x.json") == Path("elsewhere/x.json")


class _NoNifi(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"<html>a web site</html>"
        self.send_response(503 if "503" in self.path else 404 if "404" in self.path else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web_site() -> Iterator[str]:
    server = http.server.HTTPServer(("127.0.0.1", 0), _NoNifi)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join(10)


def test_what_is_not_nifi_is_said_in_one_line(web_site: str) -> None:
    with pytest.raises(ConfigError, match="is not the address of a NiFi's REST API"):
        NifiApi(web_site).about()
    with pytest.raises(ConfigError, match="404"):
        NifiApi(f"{web_site}/404").about()
    with pytest.raises(UnavailableError, match="503"):
        NifiApi(f"{web_site}/503").about()
    with pytest.raises(UnavailableError, match="cannot be reached; is it running"):
        NifiApi(f"http://127.0.0.1:{free_port()}/nifi-api").about()
    with pytest.raises(ConfigError, match="'plant' is not the address of a NiFi"):
        NifiApi("plant").about()
