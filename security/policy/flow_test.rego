package otmirror.flow_test

import data.otmirror

_site := {
	"components": {
		"org.acme.Check": {"bundle": "org.acme:nar"},
		"org.apache.nifi.processors.standard.InvokeHTTP": {"bundle": "org.apache.nifi:nifi-standard-nar"},
	},
	"endpoints": ["http://store:*", "kafka://k1:9093", "kafka://k2:9093", "mqtt://broker:8883", "postgresql://db:5432", "s3://lake", "http://[fe80::1]:80"],
	"devices": [
		{"endpoint": "opc.tcp://plc7:4840", "shortest_poll_ms": 500},
		{"endpoint": "opc.tcp://plc8:4840"},
		{"endpoint": "opc.tcp://plc9:4840", "shortest_poll_ms": 5000},
		{"endpoint": "modbus://10.1.2.*:502", "shortest_poll_ms": 2000},
	],
	"topics": ["ot/v1/acme/", "ot.v1.acme", `ot\.v1\.(a|b)`],
	"tags": ["acme/"],
	"waivers": [
		{"endpoint": "http://store:80", "reason": "being replaced", "expires": "2026-12-31"},
		{"endpoint": "http://store:81", "reason": "was replaced", "expires": "2026-01-31"},
		{"endpoint": "http://store:80", "reason": "before that", "expires": "2025-12-31"},
	],
}

_decided(document) := decided if {
	common := {"kind": "flow", "date": "2026-06-30", "components": [], "connections": [], "parameters": [], "notes": []}
	decided := otmirror.decision with input as object.union(common, document)
		with data.otmirror.site as _site
}

_rules(document) := {denial.rule | some denial in _decided(document).denied}

_messages(document) := {denial.message | some denial in _decided(document).denied}

_component(type, bundle, properties) := {
	"kind": "processor",
	"name": "Some",
	"id": "1-2",
	"type": type,
	"bundle": bundle,
	"properties": properties,
	"relationships": [],
	"terminated": [],
	"tag_list": [],
}

_ours(type, properties) := {"components": [_component(type, "org.apache.nifi:python-extensions", properties)]}

_stock(type, nar, properties) := {"components": [_component(
	concat("", ["org.apache.nifi.", type]),
	concat("", ["org.apache.nifi:", nar]),
	properties,
)]}

_is(value) := {"value": value, "sensitive": false, "literal": true, "default": false}

_opcua(changes) := _ours("ReadOpcUaTags", object.union(
	{
		"Endpoint URL": _is("opc.tcp://plc7:4840/path"),
		"Security Policy": _is("Basic256Sha256"),
		"Security Mode": _is("SignAndEncrypt"),
		"Poll Interval": _is("1 sec"),
	},
	changes,
))

_kafka(changes) := _stock("kafka.service.Kafka3ConnectionService", "nifi-kafka-3-service-nar", object.union(
	{
		"bootstrap.servers": _is("k1:9093, k2:9093"),
		"security.protocol": {"value": "PLAINTEXT", "sensitive": false, "literal": false, "default": true},
	},
	changes,
))

_modbus(devices, poll) := _ours("PollModbusReadOnly", {"Devices": _is(devices), "Poll Interval": _is(poll)})

_store(url) := _ours("ToVictoriaMetrics", {"VictoriaMetrics URL": _is(url)})

_http(changes) := _stock("processors.standard.InvokeHTTP", "nifi-standard-nar", object.union({"HTTP URL": _is("https://store:443")}, changes))

_mqtt(topic) := _stock("processors.mqtt.PublishMQTT", "nifi-mqtt-nar", {
	"Broker URI": _is("ssl://broker:8883"),
	"Topic": _is(topic),
})

_subscribed(topics) := _stock("kafka.processors.ConsumeKafka", "nifi-kafka-nar", {"Topics": _is(topics)})

_telegraf(template) := _ours("ToVictoriaMetrics", {"Telegraf Tag": _is(template)})

_with_tags(document, tags) := {"components": [object.union(document.components[0], {"tag_list": tags})]}

_queue(changes) := {"connections": [object.union(
	{
		"id": "c-1",
		"source": {"id": "1-2", "name": "Some"},
		"destination": {"id": "3-4", "name": "Other"},
		"relationships": ["success", "failure"],
		"objects": 10000,
		"size": "1 GB",
		"expiration": "0 sec",
	},
	changes,
)]}

_relationships(terminated, connections) := {
	"components": [object.union(_component("org.acme.Check", "org.acme:nar", {}), {
		"relationships": ["success", "failure"],
		"terminated": terminated,
	})],
	"connections": connections,
}

_parameter(changes) := {"parameters": [object.union(
	{"kind": "parameter", "name": "store.url", "id": "ctx/store.url", "sensitive": false, "literal": true},
	changes,
)]}

_setting(name, value) := {"components": [_component("org.acme.Check", "org.acme:nar", {name: value})]}

_sensitive(literal) := {"sensitive": true, "literal": literal, "default": false}

_allowed := {
	"nothing": {},
	"opc ua with a current policy": _opcua({}),
	"opc ua backup servers": _opcua({"Backup Endpoint URLs": _is("opc.tcp://plc8:4840\nopc.tcp://PLC7:4840")}),
	"kafka over tls": _kafka({"security.protocol": _is("SSL")}),
	"kafka over tls by the newer name": _kafka({"Security Protocol": _is("SASL_SSL")}),
	"modbus by pattern, named": _modbus("a=10.1.2.3:502, 10.1.2.4:502", "2 sec"),
	"http that is waived": _store("http://store:80/api"),
	"https": _store("https://store:443"),
	"an ipv6 address": _store("https://[FE80::1]:80/x"),
	"a database over tls": _ours("WriteIceberg", {"Catalog URI": _is("jdbc:postgresql://db:5432/ot?sslmode=verify-full")}),
	"a warehouse in s3": _ours("WriteIceberg", {"Warehouse": _is("s3://lake/warehouse")}),
	"a warehouse in a folder": _ours("WriteIceberg", {"Warehouse": _is("file:///data/warehouse")}),
	"a get by its default": _http({"HTTP Method": _is("GET")}),
	"a type of the site": _setting("anything", _is("at all")),
	"a topic": _mqtt("ot/v1/acme/north/${source}"),
	"a topic of tags": _mqtt("ot/v1/${tag}"),
	"a regular expression as approved": _subscribed(`ot\.v1\.(a|b)`),
	"topics as approved": _subscribed("ot.v1.acme, ot.v1.acme"),
	"tags of telegraf": _telegraf("acme/telegraf/{name}"),
	"a tag list": _with_tags(_opcua({}), [{"tag": "acme/p", "intervals_ms": [500, 60000]}, {"tag": "acme/q", "intervals_ms": []}]),
	"a queue": _queue({}),
	"failure connected": _relationships(["success"], _queue({}).connections),
	"a sensitive parameter": _parameter({"name": "store.password", "sensitive": true, "literal": false}),
	"a parameter": _parameter({"value": "https://store"}),
	"a sensitive property": _setting("Password", _sensitive(false)),
	"a secret's switch": _setting("Needs Password", _is("true")),
	"a secret's file": _setting("Password File", _is("/run/secrets/x")),
	"a password in a file": _setting("Options", _is("password=file:///run/secrets/x")),
	"a comment": {"notes": [{"kind": "label", "name": "label", "id": "l-1", "text": "Ask for the password: phone 1234"}]},
}

test_allowed[note] if {
	some note, document in _allowed
	_rules(document) == set()
}

_denied := {
	"component-not-allowed": {
		"a type": _ours("WriteAnything", {}),
		"a bundle": {"components": [_component("ReadOpcUaTags", "com.evil:python-extensions", {})]},
	},
	"write-capable": {
		"any program": _stock("processors.standard.ExecuteStreamCommand", "nifi-standard-nar", {}),
		"any code": _stock("processors.script.ExecuteScript", "nifi-scripting-nar", {}),
		"any code in a record reader": _stock("record.script.ScriptedReader", "nifi-scripting-nar", {}),
		"any bytes": _stock("processors.standard.PutTCP", "nifi-standard-nar", {}),
		"a device, by its verb": {"components": [_component("org.acme.opc.PutOPCUATags", "org.acme:nar", {})]},
		"a device, plc4x": {"components": [_component("org.apache.plc4x.nifi.Plc4xSinkProcessor", "org.apache.plc4x:nar", {})]},
		"a device, by its noun": {"components": [_component("org.acme.ModbusWriter", "org.acme:nar", {})]},
		"a put over http": _http({"HTTP Method": _is("PUT")}),
		"an unknown method": _http({"HTTP Method": _is("${method}")}),
		"no method": _http({}),
	},
	"plaintext-endpoint": {
		"opc ua with policy none": _opcua({"Security Policy": _is("None")}),
		"opc ua that is only signed": _opcua({"Security Mode": _is("Sign")}),
		"opc ua without a policy": _ours("ReadOpcUaTags", {"Endpoint URL": _is("opc.tcp://plc7:4840"), "Security Mode": _is("SignAndEncrypt")}),
		"kafka by its default": _kafka({}),
		"mqtt": _stock("processors.mqtt.PublishMQTT", "nifi-mqtt-nar", {"Broker URI": _is("tcp://broker:8883")}),
		"http": _store("http://store:8428"),
		"no scheme": _store("store:8428"),
		"a waiver that ended": _store("http://store:81"),
		"a database": _ours("WriteIceberg", {"Catalog URI": _is("postgresql://db:5432/ot")}),
		"a url in another property": _setting("Where", _is("http://store:8428")),
	},
	"endpoint-not-approved": {
		"another host": _store("https://elsewhere:443"),
		"another port": _kafka({"bootstrap.servers": _is("k1:9093,k2:9094"), "security.protocol": _is("SSL")}),
		"a login that looks like a host": _store("https://store@elsewhere:443"),
		"a pattern is not for more dots": _modbus("10.1.2.3.evil.com:502", "2 sec"),
		"known only when it runs": _store("https://${host}:443"),
		"a parameter that is not there": _store("https://#{host}:443"),
		"a backslash": _store(`https://elsewhere\@store:443`),
		"a url in another property": _setting("Where", _is("https://elsewhere")),
		"another warehouse": _ours("WriteIceberg", {"Warehouse": _is("s3://other/x")}),
	},
	"tag-prefix": {
		"a topic": _mqtt("ot/v1/other/x"),
		"a topic known only when it runs": _mqtt("${topic}"),
		"a topic of tags": _mqtt("other/${tag}"),
		"a longer name": _subscribed("ot.v1.acme2"),
		"one of several": _subscribed("ot.v1.acme, other"),
		"a regular expression": _subscribed("ot/v1/acme/|.*"),
		"tags of telegraf": _telegraf("telegraf/{name}"),
		"a tag list": _with_tags(_opcua({}), [{"tag": "acme/p", "intervals_ms": []}, {"tag": "other/q", "intervals_ms": []}]),
	},
	"poll-too-fast": {
		"the device's limit": _opcua({"Poll Interval": _is("250 ms")}),
		"the policy's limit": _opcua({"Endpoint URL": _is("opc.tcp://plc8:4840"), "Poll Interval": _is("999 millis")}),
		"the slowest of two": _opcua({"Backup Endpoint URLs": _is("opc.tcp://plc9:4840")}),
		"by a pattern": _modbus("10.1.2.3:502", "1 sec"),
		"known only when it runs": _opcua({"Poll Interval": _is("${poll}")}),
		"sampling": _opcua({"Sampling Interval": _is("0 sec")}),
		"a tag list": _with_tags(_opcua({}), [{"tag": "acme/p", "intervals_ms": [100]}]),
	},
	"literal-secret": {
		"a sensitive property": _setting("Password", _sensitive(true)),
		"a property by its name": _setting("X-Api-Key", _is("2b7e")),
		"a login": _parameter({"value": "https://me:hunter2@store"}),
		"a private key": _setting("Text", _is("-----BEGIN RSA PRIVATE KEY-----\nMII")),
		"a bearer token": _setting("Header", _is("Bearer 0123456789abcdef0123")),
		"a jwt": _setting("Header", _is("eyJhbGciOiJI.eyJzdWIiOiIx.c2ln")),
		"a cloud key": _setting("Header", _is("AKIAABCDEFGHIJKLMNOP")),
		"a password": _setting("Options", _is("sasl.password=hunter2hunter2")),
		"a sensitive parameter": _parameter({"name": "store.password", "sensitive": true}),
		"a parameter by its name": _parameter({"name": "store.password", "value": "x"}),
		"a comment": {"notes": [{"kind": "label", "name": "label", "id": "l-1", "text": "password: hunter2hunter2"}]},
	},
	"no-back-pressure": {
		"no objects": _queue({"objects": 0}),
		"no size": _queue({"size": "0 B"}),
	},
	"flowfiles-expire": {"after a minute": _queue({"expiration": "1 min"})},
	"no-failure-path": {
		"thrown away": _relationships(["success", "failure"], []),
		"leads nowhere": _relationships(["success"], []),
	},
}

test_denied[note] if {
	some rule, documents in _denied
	some name, document in documents
	note := sprintf("%s: %s", [rule, name])
	_rules(document) == {rule}
}

test_a_denial_names_component_and_remedy if {
	some denial in _decided(_queue({"size": "0 B"})).denied
	denial.component == {"kind": "connection", "name": "Some -> Other", "id": "c-1"}
	denial.remedy != ""
}

test_a_waiver_that_ended_is_told if {
	some message in _messages(_store("http://store:81"))
	endswith(message, "its waiver ended on 2026-01-31")
}

test_a_waiver_that_is_used_is_told if {
	some waiver in _decided(_store("http://store:80")).waived
	waiver.message == "http://store:80 is waived until 2026-12-31: being replaced"
}

test_no_message_holds_a_login if {
	every message in _messages(_store("http://me:hunter2@elsewhere:80")) {
		not contains(message, "hunter2")
	}
}

test_without_a_site_nothing_talks_to_anybody if {
	document := object.union(_store("https://store:443"), {"kind": "flow", "connections": [], "parameters": [], "notes": []})
	decided := otmirror.decision with input as document
	rules := {denial.rule | some denial in decided.denied}
	rules == {"endpoint-not-approved"}
}
