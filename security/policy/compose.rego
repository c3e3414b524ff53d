# METADATA
# title: docker-compose.yml
# description: What a service of a compose file may not have. Every profile is looked at.
package otmirror.compose

import data.otmirror.lib

# METADATA
# title: Image without an exact version
# description: No tag, a tag without a number in it, `latest`, or a tag known only when it is started. A digest pins as well.
# custom:
#   id: image-not-pinned
#   remedy: write an exact version, such as apache/kafka:4.3.1, or a digest, IMAGE@sha256:...
deny contains lib.denial(meta, _component(name), sprintf("image %s is not pinned", [service.image])) if {
	meta := rego.metadata.rule()
	some name, service in input.stack.services
	not _pinned(service.image)
}

_pinned(image) if regex.match(`@sha256:[0-9a-f]{64}$`, image)

_pinned(image) if {
	tag := regex.find_all_string_submatch_n(`:([A-Za-z0-9_][A-Za-z0-9_.-]*)$`, image, 1)[0][1]
	regex.match(`[0-9]`, tag)
	not contains(tag, "latest")
}

# METADATA
# title: Published port
# description: >-
#   A port of an OT protocol on the host, on whatever address, or any port on every address of the host. The site may
#   approve an address and port; no site opens an OT port.
# custom:
#   id: published-port
#   remedy: publish it on 127.0.0.1, or not at all, and let services talk over a network; `published` of the site file approves ADDRESS:PORT
deny contains lib.denial(meta, _component(name), message) if {
	meta := rego.metadata.rule()
	some name, service in input.stack.services
	some port in object.get(service, "ports", [])
	message := _exposed(_published(port))
}

_exposed(port) := sprintf("OT port %s is published", [port.told]) if {
	some number in data.otmirror.policy.ot_ports
	some range in [port.host, port.container]
	_within(number, range)
} else := sprintf("port %s is published on %s", [port.told, _where(port.address)]) if {
	not regex.match(`^(127\.\d+\.\d+\.\d+|\[?::1\]?|localhost)$`, port.address)
	not sprintf("%s:%s", [port.address, port.host]) in object.get(lib.site, "published", [])
}

_where(address) := address if not address in {"", "0.0.0.0", "::", "[::]"}

else := "every address of the host"

# Both forms of a port: [ADDRESS:][HOST:]CONTAINER[/PROTOCOL] and a mapping.
_published(port) := {
	"address": object.get(port, "host_ip", ""),
	"host": sprintf("%v", [object.get(port, "published", "")]),
	"container": sprintf("%v", [port.target]),
	"told": sprintf("%v", [object.get(port, "published", port.target)]),
} if {
	is_object(port)
} else := {"address": parts[1], "host": parts[2], "container": parts[3], "told": text} if {
	text := regex.replace(sprintf("%v", [port]), `/(tcp|udp|sctp)$`, "")
	parts := regex.find_all_string_submatch_n(`^(?:(?:(.*):)?([^:\]]*):)?([^:\]]+)$`, text, 1)[0]
} else := {"address": "an unknown address", "host": "", "container": "", "told": sprintf("%v", [port])}

# Whether a number is that of a port or in a range of ports.
_within(number, range) if {
	regex.match(`^\d+(-\d+)?$`, range)
	ends := [to_number(end) | some end in split(range, "-")]
	number >= min(ends)
	number <= max(ends)
}

# METADATA
# title: Service without limits
# description: A service that may take all memory or all cores of the host takes its neighbours along.
# custom:
#   id: no-limits
#   remedy: "set deploy.resources.limits with cpus and memory"
deny contains lib.denial(meta, _component(name), sprintf("it has no limit for %s", [concat(" and ", missing)])) if {
	meta := rego.metadata.rule()
	some name, service in input.stack.services
	limits := object.get(service, ["deploy", "resources", "limits"], {})
	missing := [what |
		some what, short in {"cpus": "cpus", "memory": "mem_limit"}
		not _limited({object.get(limits, what, ""), object.get(service, short, "")})
	]
	count(missing) > 0
}

_limited(limits) if {
	some limit in limits
	regex.match(`^0*[.]?0*[1-9]`, sprintf("%v", [limit]))
}

# METADATA
# title: Service that is not confined
# description: >-
#   `privileged`, added capabilities, a shared process or user namespace, or a switched-off seccomp or AppArmor profile:
#   whoever takes over the service has the host.
# custom:
#   id: privileged
#   remedy: take it out; cap_drop ALL and no-new-privileges are what the shipped services run with
deny contains lib.denial(meta, _component(name), message) if {
	meta := rego.metadata.rule()
	some [name, message] in _unconfined
}

_unconfined contains [name, "it is privileged"] if {
	some name, service in input.stack.services
	_on(service.privileged)
}

_unconfined contains [name, sprintf("capability %s is added", [capability])] if {
	some name, service in input.stack.services
	some capability in service.cap_add
}

_unconfined contains [name, sprintf("%s is the host's", [namespace])] if {
	some name, service in input.stack.services
	some namespace in ["pid", "ipc", "uts", "userns_mode", "cgroup"]
	service[namespace] == "host"
}

_unconfined contains [name, sprintf("security_opt is %s", [option])] if {
	some name, service in input.stack.services
	some option in service.security_opt
	regex.match(`unconfined|label[:=]disable`, option)
}

_on(value) := lower(sprintf("%v", [value])) in {"true", "yes", "on"}

# METADATA
# title: The host's network
# description: A service in the host's network, or on a network that is the host's own (macvlan, ipvlan), is in every zone the host is in.
# custom:
#   id: host-network
#   remedy: give it networks of the stack instead of network_mode
deny contains lib.denial(meta, component, message) if {
	meta := rego.metadata.rule()
	some [component, message] in _on_the_host
}

_on_the_host contains [_component(name), sprintf("network_mode is %s", [service.network_mode])] if {
	some name, service in input.stack.services
	regex.match(`^(host|container:.*)$|[$]`, service.network_mode)
}

_on_the_host contains [_part("network", name), sprintf("it is the host's own: %s", [told])] if {
	some name, network in input.stack.networks
	some key in ["driver", "name"]
	told := network[key]
	told in {"host", "macvlan", "ipvlan"}
}

# METADATA
# title: The engine's socket or the host's system folders
# description: Who has the container engine's socket, or the folder it is in, has the host. So may a source that is not known.
# custom:
#   id: docker-socket
#   remedy: mount only the folders the service works on; nothing in this stack needs the engine
deny contains lib.denial(meta, component, sprintf("it mounts %s", [source])) if {
	meta := rego.metadata.rule()
	some [component, source] in _mounts
	_forbidden(source)
}

_mounts contains [_component(name), _source(volume)] if {
	some name, service in input.stack.services
	some volume in service.volumes
}

_mounts contains [_part("volume", name), volume.driver_opts.device] if {
	some name, volume in input.stack.volumes
}

_source(volume) := object.get(volume, "source", "") if {
	is_object(volume)
} else := split(volume, ":")[0]

_forbidden(source) if startswith(source, "${")

_forbidden(source) if regex.match(`(docker|containerd|podman|crio|cri-dockerd)[^/]*\.sock`, source)

_forbidden(source) if regex.replace(regex.replace(source, `/+\.?(/|$)`, "/"), `(.)/$`, "$1") in data.otmirror.policy.host_folders

# METADATA
# title: Secret in the environment, the command or the build
# description: >-
#   Everybody who may inspect a container, its image or its children's environment reads it. Also when it comes from a
#   variable of the caller's.
# custom:
#   id: secret-in-environment
#   remedy: make it a secret of the stack, a file in /run/secrets, and name the file; change what was in the file
deny contains lib.denial(meta, _component(name), message) if {
	meta := rego.metadata.rule()
	some name, service in input.stack.services
	some message in _secrets(service)
}

_secrets(service) := by_name | by_look if {
	by_name := {sprintf("%s %s holds a secret", [place, key]) |
		some [place, key, value] in _settings(service)
		lib.secret_name(key)
		not regex.match(`^(file://)?/run/secrets/|^$`, value)
	}
	by_look := {sprintf("%s %s holds %s", [place, key, look]) |
		some [place, key, value] in _settings(service)
		not lib.secret_name(key)
		look := lib.secret_look(value)
	}
}

# Every setting as [place, name, value]; a variable without a value is the caller's.
_settings(service) := environment | arguments | labels | words if {
	environment := {["environment variable", key, value] | some [key, value] in _pairs(object.get(service, "environment", {}))}
	arguments := {["build argument", key, value] | some [key, value] in _pairs(object.get(service, ["build", "args"], {}))}
	labels := {["label", key, value] | some [key, value] in _pairs(object.get(service, "labels", {}))}
	words := {["word of", key, value] |
		some key in ["command", "entrypoint"]
		some value in _words(object.get(service, key, []))
	}
}

_pairs(settings) := {[key, _text(value)] | some key, value in settings} if {
	is_object(settings)
} else := {[split(item, "=")[0], _after(item)] | some item in settings}

_text(null) := "(the caller's)"

_text(value) := sprintf("%v", [value]) if value != null

_after(item) := substring(item, indexof(item, "=") + 1, -1) if contains(item, "=")

else := "(the caller's)"

_words(text) := {text} if {
	is_string(text)
} else := {sprintf("%v", [word]) | some word in text}

_component(name) := _part("service", name)

_part(kind, name) := {"kind": kind, "name": name, "id": sprintf("%ss.%s", [kind, name])}
