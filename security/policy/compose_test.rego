package otmirror.compose_test

import data.otmirror

_site := {"published": ["10.0.0.5:8443"]}

_decided(changes) := decided if {
	service := object.union(
		{
			"image": "apache/kafka:4.3.1",
			"deploy": {"resources": {"limits": {"cpus": "0.5", "memory": "1G"}}},
		},
		changes,
	)
	decided := otmirror.decision with input as {"kind": "compose", "stack": {"services": {"kafka": service}}}
		with data.otmirror.site as _site
}

_rules(changes) := {denial.rule | some denial in _decided(changes).denied}

_messages(changes) := {denial.message | some denial in _decided(changes).denied}

_allowed := {
	"as it is": {},
	"a digest": {"image": concat("", ["apache/kafka@sha256:", concat("", ["0" | some _ in numbers.range(1, 64)])])},
	"a port on loopback": {"ports": ["127.0.0.1:8443:8443", "[::1]:8443:8443/tcp", {"target": 8443, "published": "8443", "host_ip": "127.0.0.1"}]},
	"a port the site approves": {"ports": ["10.0.0.5:8443:8443"]},
	"limits in the short form": {"deploy": {"resources": {"limits": {"cpus": "", "memory": ""}}}, "cpus": 1.5, "mem_limit": "512m"},
	"not privileged": {"privileged": false, "cap_add": [], "security_opt": ["no-new-privileges:true"], "pid": "service:x"},
	"a network of its own": {"network_mode": "none"},
	"folders": {"volumes": ["./conf:/conf:ro", "data:/data", {"type": "volume", "source": "data", "target": "/x"}, {"type": "tmpfs", "target": "/tmp"}]},
	"a secret's file": {"environment": {"PASSWORD_FILE": "/run/secrets/x", "TOKEN": "/run/secrets/token", "KEY": 1}},
	"a command with a secret's file": {"command": ["-password=file:///run/secrets/x"], "entrypoint": "run --now"},
	"an empty secret": {"environment": {"PASSWORD": ""}},
}

test_allowed[note] if {
	some note, changes in _allowed
	_rules(changes) == set()
}

_denied := {
	"image-not-pinned": {
		"no tag": {"image": "apache/kafka"},
		"a registry's port": {"image": "registry:5000/kafka"},
		"latest": {"image": "apache/kafka:latest"},
		"latest of a line": {"image": "apache/kafka:latest-4"},
		"no number": {"image": "apache/kafka:stable"},
		"not known": {"image": "apache/kafka:${TAG}"},
	},
	"published-port": {
		"opc ua on loopback": {"ports": ["127.0.0.1:4840:8443"]},
		"modbus behind another port": {"ports": ["127.0.0.1:10000:502"]},
		"in a range": {"ports": ["127.0.0.1:4000-5000:4000-5000"]},
		"on every address": {"ports": ["8443:8443"]},
		"on every address, written out": {"ports": ["0.0.0.0:8443:8443"]},
		"on any port": {"ports": ["8443"]},
		"a number": {"ports": [8443]},
		"a mapping": {"ports": [{"target": 8443, "published": "8443"}]},
		"another address": {"ports": ["10.0.0.6:8443:8443"]},
		"not known": {"ports": ["${ADDRESS}:8443:8443"]},
		"not readable": {"ports": ["127.0.0.1:80:"]},
	},
	"no-limits": {
		"none": {"deploy": {"resources": {"limits": {"cpus": "", "memory": ""}}}},
		"no memory": {"deploy": {"resources": {"limits": {"cpus": "1", "memory": 0}}}},
	},
	"privileged": {
		"privileged": {"privileged": true},
		"privileged, as a text": {"privileged": "Yes"},
		"a capability": {"cap_add": ["SYS_ADMIN"]},
		"the host's processes": {"pid": "host"},
		"no seccomp": {"security_opt": ["seccomp:unconfined"]},
	},
	"host-network": {
		"host": {"network_mode": "host"},
		"another container's": {"network_mode": "container:other"},
		"not known": {"network_mode": "${MODE}"},
	},
	"docker-socket": {
		"the socket": {"volumes": ["/var/run/docker.sock:/var/run/docker.sock:ro"]},
		"its folder": {"volumes": [{"type": "bind", "source": "/run/", "target": "/x"}]},
		"not known": {"volumes": ["${WHERE:?}:/x"]},
		"the root": {"volumes": ["/:/host"]},
		"a folder written in another way": {"volumes": ["/var//run/./:/x"]},
	},
	"secret-in-environment": {
		"a variable": {"environment": {"DB_PASSWORD": "hunter2"}},
		"a list": {"environment": ["DB_PASSWORD=hunter2"]},
		"the caller's": {"environment": ["DB_PASSWORD"]},
		"the caller's, as a mapping": {"environment": {"DB_PASSWORD": null}},
		"not known": {"environment": {"DB_PASSWORD": "${DB_PASSWORD}"}},
		"a login in a url": {"environment": {"URL": "https://me:hunter2@store"}},
		"an argument": {"build": {"args": {"TOKEN": "hunter2"}}},
		"a label": {"labels": ["token=hunter2hunter2"]},
		"a command": {"command": "run --password=hunter2hunter2"},
		"a command in words": {"command": ["run", "--password=hunter2hunter2"]},
	},
}

test_denied[note] if {
	some rule, cases in _denied
	some name, changes in cases
	note := sprintf("%s: %s", [rule, name])
	_rules(changes) == {rule}
}

test_a_denial_names_service_and_remedy if {
	some denial in _decided({"image": "apache/kafka"}).denied
	denial.component == {"kind": "service", "name": "kafka", "id": "services.kafka"}
	denial.remedy != ""
}

test_a_built_image_needs_no_name if {
	service := {"build": ".", "cpus": 1, "mem_limit": "1G"}
	decided := otmirror.decision with input as {"kind": "compose", "stack": {"services": {"built": service}}}
	decided.denied == set()
}

_with(parts) := decided.denied if {
	stack := {"services": {"built": {"build": ".", "cpus": 1, "mem_limit": "1G"}}}
	decided := otmirror.decision with input as {"kind": "compose", "stack": object.union(stack, parts)}
}

test_networks_and_volumes_of_the_stack_count if {
	{denial.rule | some denial in _with({"networks": {"plant": {"driver": "macvlan", "name": "x"}}})} == {"host-network"}
	{denial.rule | some denial in _with({"networks": {"plant": {"name": "host", "external": true}}})} == {"host-network"}
	{denial.rule | some denial in _with({"volumes": {"x": {"driver_opts": {"device": "/var/run"}}}})} == {"docker-socket"}
	_with({"networks": {"plant": {"internal": true}}, "volumes": {"x": {}}}) == set()
}

test_no_message_holds_a_secret if {
	every message in _messages({"environment": {"A_TOKEN": "hunter2hunter2", "B": "password=hunter2hunter2"}}) {
		not contains(message, "hunter2")
	}
}
