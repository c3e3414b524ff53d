package otmirror.flow

import data.otmirror.lib

# METADATA
# title: Plaintext endpoint
# description: >-
#   A connection that is not encrypted: http://, mqtt://, Kafka without SSL, OPC UA with policy None, a deprecated
#   policy or mode Sign, and any protocol not known to encrypt. Modbus TCP knows no encryption and is left to the
#   zone it is in.
# custom:
#   id: plaintext-endpoint
#   remedy: encrypt it (https, ssl, security.protocol SSL, a current Security Policy with SignAndEncrypt), or have the site's owner waive this endpoint with a reason and a date it ends
deny contains lib.denial(meta, endpoint.component, message) if {
	meta := rego.metadata.rule()
	some endpoint in endpoints
	why := _plaintext(endpoint)
	not _waiver(endpoint)
	message := sprintf("%s is not encrypted: %s%s", [_named(endpoint), why, _spent(endpoint)])
}

# METADATA
# title: Endpoint that nobody approved
# description: >-
#   An address that is neither among the site's endpoints nor its devices, or that is known only when the flow runs.
#   Whether it is encrypted is another rule's business.
# custom:
#   id: endpoint-not-approved
#   remedy: use an approved address, or have the site's owner add it to `endpoints` or `devices` of the site file
deny contains lib.denial(meta, endpoint.component, message) if {
	meta := rego.metadata.rule()
	some endpoint in endpoints
	message := _unapproved(endpoint)
}

# The waivers that were used, and by what.
waived contains waiver if {
	some endpoint in endpoints
	_plaintext(endpoint)
	told := _waiver(endpoint)
	waiver := {
		"rule": "plaintext-endpoint",
		"component": {key: endpoint.component[key] | some key in ["kind", "name", "id"]},
		"message": sprintf("%s is waived until %s: %s", [endpoint.address, told.expires, told.reason]),
	}
}

# Every address a component talks to, as protocol://host:port; an encrypted protocol goes by the name of its family.
# Properties that are declared to hold addresses, and all others that hold a URL.
endpoints contains _endpoint(component, name, text, protocol) if {
	some component in input.components
	some name, property in component.properties
	protocol := lib.approved[component.type].endpoints[name]
	some text in _addresses(property)
}

endpoints contains _endpoint(component, name, text, "") if {
	some component in input.components
	some name, property in component.properties
	not lib.approved[component.type].endpoints[name]
	some text in _addresses(property)
	regex.match(`^(jdbc:)?[A-Za-z][A-Za-z0-9+.-]*://`, text)
}

_addresses(property) := {text |
	some part in regex.split(`[,;\n]`, object.get(property, "value", ""))
	text := trim_space(part)
	text != ""
}

_endpoint(component, property, text, protocol) := {
	"component": component,
	"property": property,
	"text": text,
	"scheme": scheme,
	"shown": sprintf("%s://%s", [scheme, host]),
	"address": sprintf("%s://%s", [object.get(data.otmirror.policy.protocols.families, scheme, scheme), host]),
} if {
	scheme := _scheme(text, protocol)
	host := _host(text)
	not scheme in data.otmirror.policy.protocols.not_a_network
}

_scheme(text, protocol) := found[0][1] if {
	found := regex.find_all_string_submatch_n(`^(?:jdbc:)?([a-z][a-z0-9+.-]*)://`, lower(text), 1)
	count(found) > 0
} else := protocol

# Host and port without login, path or a device's name before it ("name=host:port").
_host(text) := lower(regex.replace(bare, `([/?]|#[^{]|#$).*$`, "")) if {
	after := regex.replace(text, `^(jdbc:)?[A-Za-z][A-Za-z0-9+.-]*://`, "")
	bare := regex.replace(after, `^([^/?#]|#\{)*[@=]`, "")
}

_unapproved(endpoint) := sprintf("%s is known only when the flow runs", [_named(endpoint)]) if {
	lib.unknown(endpoint.address)
} else := sprintf("%s is read differently by different programs", [_named(endpoint)]) if {
	regex.match(`[\\\s]`, endpoint.text)
} else := sprintf("%s is not approved", [_named(endpoint)]) if {
	not _approved(endpoint)
}

_approved(endpoint) if {
	some pattern in object.get(lib.site, "endpoints", [])
	_matches(pattern, endpoint)
}

_approved(endpoint) if {
	some device in object.get(lib.site, "devices", [])
	_matches(device.endpoint, endpoint)
}

_matches(pattern, endpoint) if lower(pattern) == endpoint.address

_matches(pattern, endpoint) if glob.match(lower(pattern), [".", ":", "/"], endpoint.address)

_named(endpoint) := sprintf("%s (property %s)", [endpoint.shown, endpoint.property])

# Why an endpoint is not encrypted; undefined when it is. Whether OPC UA and Kafka are is not in their address.
_plaintext(endpoint) := why if {
	not endpoint.scheme in data.otmirror.policy.protocols.without_encryption
	conditions := object.get(lib.approved, [endpoint.component.type, "encrypted_by"], [])
	count(conditions) > 0
	why := concat(", ", [_told(endpoint.component, condition) |
		some condition in conditions
		not _met(endpoint.component, condition)
	])
	why != ""
} else := sprintf("%s is a plaintext protocol", [endpoint.scheme]) if {
	not endpoint.scheme in data.otmirror.policy.protocols.without_encryption
	not endpoint.scheme in data.otmirror.policy.protocols.encrypted
	not lib.approved[endpoint.component.type].encrypted_by
	not regex.match(`[?&]sslmode=(require|verify-ca|verify-full)\b`, endpoint.text)
}

_met(component, condition) if _value(component, condition) in condition.values

_told(component, condition) := sprintf("%s is %s", [condition.properties[0], _value(component, condition)])

# A value that is set counts, not the default of the name another version of NiFi has for the property.
_value(component, condition) := value if {
	values := [property.value |
		some name in condition.properties
		property := component.properties[name]
		not property["default"]
	]
	value := values[0]
} else := value if {
	value := component.properties[condition.properties[0]].value
} else := "not set"

_waiver(endpoint) := valid[0] if {
	valid := [waiver |
		some waiver in object.get(lib.site, "waivers", [])
		_same(waiver, endpoint)
		waiver.expires >= input.date
	]
}

_spent(endpoint) := sprintf("; its waiver ended on %s", [max(ends)]) if {
	ends := {waiver.expires |
		some waiver in object.get(lib.site, "waivers", [])
		_same(waiver, endpoint)
	}
	count(ends) > 0
} else := ""

# A waiver is for one endpoint: no patterns.
_same(waiver, endpoint) if lower(waiver.endpoint) == endpoint.address
