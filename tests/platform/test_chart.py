"""The chart as Helm renders it: valid for Kubernetes, confined, without secrets, and open where the zones say."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from otmirror.embedded import helm
from otmirror.embedded.helm import CHART
from otmirror.errors import UnavailableError
from otmirror.workspace import PROJECT

kubernetes = pytest.importorskip("kubernetes_validate", reason="has the Kubernetes API's schemas")

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(600)]
Manifest = dict[str, Any]
NAMESPACES = {"edge": "otmirror-edge", "hub": "otmirror-it"}
EXTERNAL = (
    "secrets.existing=", "secrets.external.enabled=true", "secrets.external.store.name=vault",
    "secrets.external.path=otmirror/files",
)  # fmt: skip
ALL = ("metrics.serviceMonitor=true", "metrics.vmServiceScrape=true", "metrics.namespace=monitoring")
KUBERNETES = ("1.28", "1.31", "1.34")
CUSTOM = {
    "ExternalSecret": "external-secrets.io/v1",
    "ServiceMonitor": "monitoring.coreos.com/v1",
    "VMServiceScrape": "operator.victoriametrics.com/v1beta1",
    "PrometheusRule": "monitoring.coreos.com/v1",
}
"""Kinds of operators, which the schemas of Kubernetes do not have."""


@pytest.fixture(scope="module")
def program() -> Path:
    try:
        return helm.install()
    except UnavailableError as error:
        pytest.skip(str(error))


def run(program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)


def template(program: Path, role: str, *values: str, more: tuple[str, ...] = ()) -> list[Manifest]:
    settings = [word for value in values for word in ("--set", value)]
    files = ("-f", str(CHART / f"values-{role}.yaml"))
    where = ("-n", NAMESPACES[role], "--kube-version", "1.31")
    done = run(program, "template", role, str(CHART), *where, *files, *settings, *more)
    assert done.returncode == 0, done.stderr
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


@pytest.fixture(scope="module")
def rendered(program: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Manifest]]:
    rules = tmp_path_factory.mktemp("rules") / "rules.yaml"
    rule = {"alert": "Watchdog", "expr": "vector(1)", "labels": {"severity": "none"}}
    rules.write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": [rule]}]}))
    text = ("--set-file", f"metrics.rules.otmirror={rules}")
    return {
        "edge": template(program, "edge"),
        "hub": template(program, "hub"),
        "edge with all": template(program, "edge", *EXTERNAL, *ALL, more=text),
        "hub with all": template(program, "hub", *EXTERNAL, *ALL, more=text),
        "hub with little": template(program, "hub", "metrics.enabled=false", "flow.import=false", "pdb.enabled=false"),
    }


def kinds(manifests: list[Manifest], kind: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, dict[str, Any]]]:
    for manifest in manifests:
        if "template" in manifest.get("spec", {}):
            yield manifest["metadata"]["name"], manifest["spec"]["template"]["spec"]


@pytest.mark.parametrize("role", ["edge", "hub"])
def test_it_lints(program: Path, role: str) -> None:
    done = run(program, "lint", "--strict", str(CHART), "-f", str(CHART / f"values-{role}.yaml"))
    assert done.returncode == 0, done.stdout
    assert "1 chart(s) linted, 0 chart(s) failed" in done.stdout + done.stderr


@pytest.mark.parametrize("version", KUBERNETES)
def test_every_manifest_is_valid_for_kubernetes(rendered: dict[str, list[Manifest]], version: str) -> None:
    seen = set()
    for manifests in rendered.values():
        for manifest in manifests:
            seen.add(manifest["kind"])
            if manifest["kind"] in CUSTOM:
                assert manifest["apiVersion"] == CUSTOM[manifest["kind"]]
                assert manifest["spec"]
            else:
                kubernetes.validate(manifest, version, strict=True)
    assert seen >= {"StatefulSet", "Job", "NetworkPolicy", "PodDisruptionBudget", "ServiceAccount", *CUSTOM}


def test_the_schema_would_see_a_mistake(rendered: dict[str, list[Manifest]]) -> None:
    (wrong,) = yaml.safe_load_all(yaml.safe_dump(kinds(rendered["edge"], "StatefulSet")[0]))
    wrong["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    with pytest.raises(kubernetes.ValidationError):
        kubernetes.validate(wrong, "1.31", strict=True)


def test_every_pod_is_confined(rendered: dict[str, list[Manifest]]) -> None:
    looked_at = 0
    for which, manifests in rendered.items():
        for name, pod in pods(manifests):
            assert pod["automountServiceAccountToken"] is False, (which, name)
            assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
            assert pod["securityContext"]["runAsNonRoot"] is True
            assert pod["securityContext"]["runAsUser"] > 0
            assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
            assert not [v for v in pod["volumes"] if "hostPath" in v]
            for container in [*pod.get("initContainers", ()), *pod["containers"]]:
                looked_at += 1
                security = container["securityContext"]
                assert security["readOnlyRootFilesystem"] is True, (which, container["name"])
                assert (security["privileged"], security["allowPrivilegeEscalation"]) == (False, False)
                assert security["capabilities"] == {"drop": ["ALL"]}
                assert set(container["resources"]["limits"]) == {"cpu", "memory"}
                assert set(container["resources"]["requests"]) == {"cpu", "memory"}
                assert re.search(r":[\w.-]*\d[\w.-]*$|@sha256:", container["image"]), container["image"]
                assert "latest" not in container["image"]
    assert looked_at >= 15
    for manifests in rendered.values():
        (account,) = kinds(manifests, "ServiceAccount")
        assert account["automountServiceAccountToken"] is False


def test_no_secret_is_in_what_is_rendered(rendered: dict[str, list[Manifest]]) -> None:
    for manifests in rendered.values():
        assert not kinds(manifests, "Secret")
        for _, pod in pods(manifests):
            for container in pod["containers"]:
                for variable in container.get("env", ()):
                    held = re.search(r"(?i)passw|secret|token|credential", variable["name"])
                    assert not held or variable["value"].startswith("/run/secrets/"), variable
        for config in kinds(manifests, "ConfigMap"):
            for text in config["data"].values():
                assert not re.search(r"(?im)^[\w.]*(password|secret|token|credential)[\w.]*=", text)


def test_the_external_secret_has_every_file_that_is_mounted(rendered: dict[str, list[Manifest]]) -> None:
    for role in ("edge", "hub"):
        manifests = rendered[f"{role} with all"]
        (external,) = kinds(manifests, "ExternalSecret")
        made = {item["secretKey"] for item in external["spec"]["data"]}
        assert {item["remoteRef"]["property"] for item in external["spec"]["data"]} == made
        for _, pod in pods(manifests):
            (volume,) = [v["secret"] for v in pod["volumes"] if "secret" in v]
            assert volume["secretName"] == external["spec"]["target"]["name"]
            assert {item["key"] for item in volume["items"]} <= made
        wanted = set(re.findall(r"/run/secrets/([\w.-]+)", (PROJECT / "compose/nifi/start").read_text()))
        wanted = {name for name in wanted if not name.startswith(("$", "s3-"))}
        assert wanted - {"."} <= made | {""}, "compose/nifi/start reads it"


def test_where_nifi_writes_there_is_a_volume(rendered: dict[str, list[Manifest]]) -> None:
    home = "/opt/nifi/nifi-current/"
    (stateful,) = kinds(rendered["edge"], "StatefulSet")
    nifi = stateful["spec"]["template"]["spec"]["containers"][0]
    mounted = {mount["mountPath"]: mount for mount in nifi["volumeMounts"]}
    compose = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())["services"]["nifi-edge"]["volumes"]
    kept = {volume.split(":")[1] for volume in compose if home in volume}
    assert len(kept) == 6
    assert all(mounted[path]["name"] == "data" for path in kept), "what compose keeps, the claim keeps"
    for path in ("logs", "run", "work", "nar_extensions"):
        assert mounted[home + path]["name"] not in {"data"}
    assert {"/tmp", "/home/nifi", "/run/secrets", "/tags", "/metrics"} <= set(mounted)
    (exporter,) = [c for c in stateful["spec"]["template"]["spec"]["containers"] if c["name"] == "exporter"]
    shared = [mount for mount in exporter["volumeMounts"] if mount["mountPath"] == "/metrics"]
    assert shared[0]["subPath"] == mounted["/metrics"]["subPath"]
    assert shared[0]["readOnly"] is True


def test_probes_give_nifi_the_time_it_needs(program: Path, rendered: dict[str, list[Manifest]]) -> None:
    (stateful,) = kinds(template(program, "hub", "nifi.startupMinutes=7"), "StatefulSet")
    startup = stateful["spec"]["template"]["spec"]["containers"][0]["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] == 7 * 60
    (stateful,) = kinds(rendered["hub"], "StatefulSet")
    nifi = stateful["spec"]["template"]["spec"]["containers"][0]
    assert nifi["readinessProbe"]["exec"] == nifi["startupProbe"]["exec"]
    assert nifi["livenessProbe"]["periodSeconds"] * nifi["livenessProbe"]["failureThreshold"] >= 120
    assert stateful["spec"]["replicas"] == 1


def rules(policy: Manifest, direction: str, side: str) -> list[tuple[list[Any], list[Any]]]:
    found = [(rule[side], rule["ports"]) for rule in policy["spec"].get(direction) or []]
    return sorted(found, key=str)


@pytest.mark.parametrize(("role", "zone"), [("edge", "edge"), ("hub", "it")])
def test_the_policies_are_those_of_the_zones(rendered: dict[str, list[Manifest]], role: str, zone: str) -> None:
    """security/kubernetes is made from the same table by other code, and tested on its own."""
    committed = list(yaml.safe_load_all((PROJECT / f"security/kubernetes/{zone}.yaml").read_text()))
    theirs = {policy["metadata"]["name"]: policy for policy in committed}
    own = {policy["metadata"]["name"]: policy for policy in kinds(rendered[role], "NetworkPolicy")}
    name = f"nifi-{role}"
    assert set(own) == {f"{name}-default-deny", f"{name}-allow-dns", name, f"{name}-import"}
    for kind in ("default-deny", "allow-dns"):
        assert own[f"{name}-{kind}"]["spec"] == theirs[kind]["spec"]
    zoned = theirs[f"{role}-nifi"]
    assert rules(own[name], "egress", "to") == rules(zoned, "egress", "to")
    job = {"app.kubernetes.io/name": "otmirror-import", "app.kubernetes.io/instance": role}
    inner = ([{"podSelector": {"matchLabels": job}}], [{"protocol": "TCP", "port": 8443}])
    assert rules(own[name], "ingress", "from") == sorted([*rules(zoned, "ingress", "from"), inner], key=str)
    labels = zoned["spec"]["podSelector"]["matchLabels"]
    (stateful,) = kinds(rendered[role], "StatefulSet")
    assert labels.items() <= stateful["spec"]["template"]["metadata"]["labels"].items()
    assert {m["metadata"]["namespace"] for m in rendered[role]} == {zoned["metadata"]["namespace"]}
    importer = own[f"{name}-import"]["spec"]
    assert importer["podSelector"]["matchLabels"] == job
    assert len(importer["egress"]) == 1
    assert "ingress" not in importer


def test_a_site_says_where_its_members_are(program: Path) -> None:
    manifests = template(
        program, "edge", "network.addresses.kafka={10.1.0.7/32}", "network.addresses.plc={10.9.0.0/24}",
        "network.ports.opcua={48010}", "network.namespaces.dmz=brokers",
        more=("--set-json", "network.addresses.jump=[]"),
    )  # fmt: skip
    (policy,) = [p for p in kinds(manifests, "NetworkPolicy") if p["metadata"]["name"] == "nifi-edge"]
    out = {rule["ports"][0]["port"]: rule["to"] for rule in policy["spec"]["egress"]}
    assert out[9093] == [{"ipBlock": {"cidr": "10.1.0.7/32"}}]
    assert out[48010] == [{"ipBlock": {"cidr": "10.9.0.0/24"}}]
    assert 4840 not in out
    assert out[8883][0]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "brokers"}
    told = [peer for rule in policy["spec"]["ingress"] for peer in rule["from"]]
    assert [list(peer) for peer in told] == [["podSelector"]], "without an address the jump host stays out"


def test_who_scrapes_gets_in_and_nobody_else(program: Path, rendered: dict[str, list[Manifest]]) -> None:
    for which, wanted in (("hub", []), ("hub with all", ["monitoring"])):
        (policy,) = [p for p in kinds(rendered[which], "NetworkPolicy") if p["metadata"]["name"] == "nifi-hub"]
        found = [rule for rule in policy["spec"]["ingress"] if rule["ports"][0]["port"] == 9478]
        spaces = [
            p["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for r in found for p in r["from"]
        ]
        assert spaces == wanted
    (monitor,) = kinds(rendered["hub with all"], "ServiceMonitor")
    (service,) = kinds(rendered["hub with all"], "Service")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"][0]["port"] in {port["name"] for port in service["spec"]["ports"]}
    (rule,) = kinds(rendered["hub with all"], "PrometheusRule")
    assert rule["spec"]["groups"][0]["rules"][0]["alert"] == "Watchdog"


def test_the_alert_rules_of_the_project_are_taken_as_they_are(program: Path) -> None:
    files = sorted((PROJECT / "monitoring/rules").glob("*.yaml"))
    if not files:
        pytest.skip("there are no rules in monitoring/rules")
    texts = [word for file in files for word in ("--set-file", f"metrics.rules.{file.stem}={file}")]
    made = kinds(template(program, "hub", more=tuple(texts)), "PrometheusRule")
    groups = {rule["metadata"]["name"]: rule["spec"]["groups"] for rule in made}
    assert groups == {f"nifi-hub-{file.stem}": yaml.safe_load(file.read_text())["groups"] for file in files}


WRONG = [
    ("image.nifi.tag=latest", "'latest' does not match pattern"),
    ("image.command.digest=sha256:12", "'sha256:12' does not match pattern"),
    ("role=both", "value must be one of 'edge', 'hub'"),
    ("replicas=2", "additional properties 'replicas' not allowed"),
    ("nifi.resources.limits.memory=4GB", "'4GB' does not match pattern"),
    ("nifi.resources.limits=null", "missing property 'limits'"),
    ("storage.size=0Gi", "'0Gi' does not match pattern"),
    ("network.addresses.plcs={192.0.2.1/32}", "invalid propertyName 'plcs'"),
    ("network.addresses.plc={plc.plant}", "'plc.plant' does not match pattern"),
    ("network.ports.opcua={0}", "minimum: got 0, want 1"),
    ("pdb.maxUnavailable=2", "maximum: got 2, want 1"),
    ("nifi.startupMinutes=soon", "got string, want integer"),
    ("flow.parameters.opcua\\.password=x", "flow.parameters: opcua.password is a secret and no value of a chart"),
    ("nifi.environment.AWS_SECRET_ACCESS_KEY=x", "nifi.environment: AWS_SECRET_ACCESS_KEY is a secret"),
    ("secrets.existing=", "secrets: name a Secret in secrets.existing, or set secrets.external"),
    ("secrets.external.enabled=true", "secrets: existing names a Secret and external would make another"),
    ("tags.existingConfigMap=", "tags: an edge reads tag lists; give existingConfigMap or existingClaim"),
    ("tags.existingClaim=lists", "tags: an edge reads tag lists"),
    ("metrics.rules.slo=hello", "metrics.rules.slo: not the text of a file of Prometheus rules"),
]


@pytest.mark.parametrize(("value", "told"), WRONG, ids=[value for value, _ in WRONG])
def test_a_wrong_value_is_refused_in_words(program: Path, value: str, told: str) -> None:
    files = ("-f", str(CHART / "values-edge.yaml"), "--kube-version", "1.31")
    done = run(program, "template", "edge", str(CHART), *files, "--set", value)
    assert done.returncode != 0
    assert told in done.stderr
    assert done.stdout == ""
