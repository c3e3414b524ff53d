"""ToVictoriaMetrics against servers that refuse, hang, lie or are not there."""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import threading

import pytest
import requests
import zstandard
from batches import batch, line

from otmirror.clock import SystemClock
from otmirror.errors import ConfigError, MistakesError
from otmirror.victoriametrics.config import Config
from otmirror.victoriametrics.sink import VictoriaMetricsSink

T0 = 1_700_000_000_000_000
SECRET = "correct-horse"


def sink(url, **settings):
    config = Config(**{"url": url, "retention": 36500 * 86400.0, "check_acceptance": False, **settings})
    return VictoriaMetricsSink(config, SystemClock())


def lines_of(request):
    body = request.body
    encoding = request.headers.get("Content-Encoding")
    if encoding == "zstd":
        body = zstandard.ZstdDecompressor().decompress(body)
    elif encoding == "gzip":
        body = gzip.decompress(body)
    return [json.loads(text) for text in body.splitlines()]


@pytest.mark.parametrize(
    ("status", "text", "told"),
    [
        (401, f"no {SECRET}", "check Username and Password or Bearer Token"),
        (403, "", "check Username and Password or Bearer Token"),
        (404, "no such page", "check VictoriaMetrics URL"),
        (408, "", "408"),
        (429, "", "fewer requests"),
        (500, f"boom {SECRET}", 'it says: "boom ***"'),
        (502, "", "look into the server's log"),
        (503, "read only", "disk is full"),
        (200, "<html>Log in</html>", "not VictoriaMetrics"),
        (302, "http://elsewhere/", "redirect"),
        (400, "unsupported path requested", "even to an empty request: check VictoriaMetrics URL"),
        (413, "", "check VictoriaMetrics URL"),
    ],
)
def test_an_answer_that_says_not_now_or_not_here_loses_nothing(scripted, status, text, told):
    server = scripted(lambda _: (status, text))
    writer = sink(server.url, username="ot", password=SECRET)
    for _ in range(2):
        output = writer.write(batch(line("t", T0, 1), line("u", T0, 1)), {})
        assert (output.relationship, output.contents) == ("retry", None)
        message = output.attributes["otmirror.error"]
        assert server.url in message
        assert str(status) in message
        assert told in message
        assert SECRET not in message
    assert [(n.level, n.message) for n in writer.notices()] == [("warn", message)]
    assert len(server.requests) <= 4


def test_a_refused_line_is_found_and_the_others_are_stored(scripted):
    stored = []

    def answer(request):
        lines = lines_of(request)
        for text in lines:
            if text["metric"]["tag"] == "poison":
                return 400, "cannot parse: poison"
            if 666 in text["values"]:
                return 400, "the number of the beast"
        stored.extend(lines)
        return 204, ""

    server = scripted(answer)
    content = batch(
        *(line(f"t{n}", T0 + k, n * 10 + k) for n in range(9) for k in range(9)),
        line("poison", T0, 1),
        *(line("long", T0 + k * 1000, 600 + k) for k in range(100)),
    )
    output = sink(server.url).write(content, {})
    assert output.relationship == "rejected"
    assert output.attributes["otmirror.vm.samples"] == str(81 + 99)
    found = [json.loads(text) for text in output.contents.splitlines()]
    assert [(json.loads(r["line"])["tag"], json.loads(r["line"])["value"]) for r in found] == [
        ("poison", 1),
        ("long", 666),
    ]
    assert "VictoriaMetrics answered 400: cannot parse: poison" in found[0]["reason"]
    values = {(s["metric"]["tag"], v) for s in stored if s["metric"]["__name__"] == "ot_value" for v in s["values"]}
    assert values == {(f"t{n}", n * 10 + k) for n in range(9) for k in range(9)} | {
        ("long", 600 + k) for k in range(100) if k != 66
    }


def test_a_proxy_with_a_small_limit_gets_smaller_requests(scripted):
    server = scripted(lambda r: (204, "") if len(r.body) <= 2000 else (413, "too large"))
    content = batch(*(line(f"t{n}", T0, n) for n in range(200)))
    output = sink(server.url, compression="none").write(content, {})
    assert output.relationship == "success"
    taken = [s for r in server.requests if len(r.body) <= 2000 for s in lines_of(r)]
    assert {s["metric"]["tag"] for s in taken if s["metric"]["__name__"] == "ot_value"} == {f"t{n}" for n in range(200)}


def test_requests_stay_below_the_maximum(scripted):
    server = scripted(lambda _: (204, ""))
    numbers = [n * 1.1111111111111112e-300 for n in range(5000)]
    content = batch(*(line(f"t{n % 50}", T0 + n, value) for n, value in enumerate(numbers)))
    assert sink(server.url, compression="none", max_request=65536).write(content, {}).relationship == "success"
    assert len(server.requests) > 3
    assert max(len(r.body) for r in server.requests) <= 65536
    sent = [v for r in server.requests for s in lines_of(r) if s["metric"]["__name__"] == "ot_value"
            for v in s["values"]]  # fmt: skip
    assert sorted(sent) == sorted(numbers)


@pytest.mark.parametrize(
    ("settings", "header"),
    [
        ({"username": "us\u00e9r", "password": SECRET}, "Basic dXPDqXI6Y29ycmVjdC1ob3JzZQ=="),
        ({"token": SECRET}, f"Bearer {SECRET}"),
        ({}, None),
    ],
)
def test_credentials(scripted, settings, header, monkeypatch, tmp_path):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login thief password thief\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    server = scripted(lambda _: (204, ""))
    assert sink(server.url, **settings).write(batch(line("t", T0, 1)), {}).relationship == "success"
    assert server.requests[0].headers.get("Authorization") == header
    assert server.requests[0].path == "/api/v1/import"


def test_a_path_before_the_import(scripted):
    server = scripted(lambda r: (204, "") if r.path == "/insert/0/prometheus/api/v1/import" else (404, ""))
    assert sink(f"{server.url}/insert/0/prometheus/").write(batch(line("t", T0, 1)), {}).relationship == "success"


def test_a_server_that_hangs_up(scripted):
    server = scripted(lambda _: None)
    output = sink(server.url).write(batch(line("t", T0, 1)), {})
    assert output.relationship == "retry"
    assert "closed the connection without an answer" in output.attributes["otmirror.error"]


def test_a_kept_connection_that_was_closed_is_opened_again(scripted):
    answers = iter([(204, ""), None, (204, "")])
    server = scripted(lambda _: next(answers))
    writer = sink(server.url)
    assert writer.write(batch(line("t", T0, 1)), {}).relationship == "success"
    assert writer.write(batch(line("t", T0, 2)), {}).relationship == "success"


def test_a_server_that_never_answers():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        output = sink(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.3).write(batch(line("t", T0, 1)), {})
    assert output.relationship == "retry"
    assert "no answer within the timeout" in output.attributes["otmirror.error"]


def test_a_host_nobody_knows():
    output = sink("http://no-such-host.invalid:8428").write(batch(line("t", T0, 1)), {})
    assert output.relationship == "retry"
    assert "no-such-host.invalid:8428/api/v1/import: the host name is not known" in output.attributes["otmirror.error"]


def test_a_certificate_nobody_knows(tmp_path):
    certificate, key = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"

        def serve():
            for _ in range(2):
                connection, _ = listener.accept()
                with connection:
                    try:
                        tls = context.wrap_socket(connection, server_side=True)
                        received = b""
                        while not received.endswith(b"}\n"):  # closing with unread data would reset the connection
                            received += tls.recv(65536) or b"}\n"
                        tls.sendall(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                        tls.close()
                    except OSError:
                        pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        output = sink(url).write(batch(line("t", T0, 1)), {})
        assert output.relationship == "retry"
        assert "TLS: self-signed certificate; check CA Certificate File" in output.attributes["otmirror.error"]
        trusted = sink(url, ca_file=str(certificate), compression="none")
        assert trusted.write(batch(line("t", T0, 1)), {}).relationship == "success"
        thread.join(5)


def self_signed(folder):
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "cert.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


def test_metrics_that_may_not_be_read_are_told_once_and_cost_nothing(scripted):
    server = scripted(lambda r: (204, "") if r.method == "POST" else (403, ""))
    writer = sink(server.url, check_acceptance=True)
    for n in range(3):
        assert writer.write(batch(line("t", T0 + n, 1)), {}).relationship == "success"
    (notice,) = writer.notices()
    assert notice.level == "warn"
    assert "/metrics answered 403" in notice.message
    assert "Check Acceptance" in notice.message


class Time(SystemClock):
    shift = 0.0

    def monotonic(self):
        return super().monotonic() + self.shift


def test_metrics_that_never_came_are_asked_for_every_30_seconds_and_not_for_long(scripted, monkeypatch):
    patience = []
    get = requests.Session.get

    def recorded(session, url, **kwargs):
        patience.append(kwargs["timeout"])
        return get(session, url, **kwargs)

    monkeypatch.setattr(requests.Session, "get", recorded)
    up = []
    server = scripted(lambda r: (404, "") if r.method == "GET" else (204, "") if up else (503, ""))
    clock = Time()
    writer = VictoriaMetricsSink(Config(url=server.url, retention=36500 * 86400.0), clock)
    wanted = ["retry", "success", "success", "success"]
    for n, relationship in enumerate(wanted):  # at 0, 9, 18 and 27 seconds
        assert writer.write(batch(line("t", T0 + n, 1)), {}).relationship == relationship
        up.append(True)
        clock.shift += 9
    assert len(patience) == 1
    assert not any("/metrics" in notice.message for notice in writer.notices())
    for n in range(3):  # at 36, 45 and 54 seconds
        assert writer.write(batch(line("t", T0 + n, 2)), {}).relationship == "success"
        clock.shift += 9
    assert len(patience) == 2
    assert max(patience) <= 5
    (notice,) = writer.notices()
    assert "/metrics answered 404" in notice.message


def test_the_quality_interval_zero_writes_every_sample(scripted):
    server = scripted(lambda _: (204, ""))
    sink(server.url, quality_interval=0.0).write(batch(*(line("t", T0 + n * 1000, 1) for n in range(5))), {})
    (quality,) = [s for r in server.requests for s in lines_of(r) if s["metric"]["__name__"] == "ot_quality"]
    assert quality["values"] == [2] * 5


def test_every_mistake_in_the_properties_is_named():
    with pytest.raises(MistakesError) as caught:
        Config(
            url=f"http://ot:{SECRET}@vm:8428",
            username="ot",
            token=f"{SECRET}\n",
            ca_file="/no/such/file",
            extra_labels="site, tag=x, 1a=b, ok=1, ok=2, long=" + "x" * 5000,
            prefix="1st",
            retention=3600.0,
            compression="lz4",
            max_request=10,
            timeout=0.0,
        )
    told = caught.value.problems
    for part in (
        "VictoriaMetrics URL: holds credentials",
        "Bearer Token: set either it",
        "Username and Password: set both",
        "Bearer Token: holds a line break",
        "CA Certificate File: has no use",
        "CA Certificate File: /no/such/file: No such file",
        "Extra Labels: 'site' is not of the form",
        "Extra Labels: tag is already a label",
        "Extra Labels: '1a=b' is not of the form",
        "Extra Labels: ok is already a label",
        "Extra Labels: the value of long is longer",
        "Metric Prefix: '1st'",
        "Retention: shorter",
        "Compression: 'lz4'",
        "Max Request Size: less",
        "Request Timeout: has to be longer",
    ):
        assert sum(part in problem for problem in told) == 1, (part, told)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "vm:8428",
        "ftp://vm",
        "http://",
        "http://vm:port",
        "http://vm/?a=b",
        "http://vm/api/v1/import",
        "http://[::1",
    ],
)
def test_urls_that_cannot_work(url):
    with pytest.raises(ConfigError, match="VictoriaMetrics URL"):
        Config(url=url)


def test_a_certificate_file_that_is_none(tmp_path):
    (tmp_path / "ca.pem").write_text("not a certificate")
    with pytest.raises(ConfigError, match=r"CA Certificate File: .*ca\.pem: holds no PEM certificate"):
        Config(url="https://vm", ca_file=str(tmp_path / "ca.pem"))
