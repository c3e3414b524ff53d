package otmirror.flow

import data.otmirror.lib

# METADATA
# title: Queue without back-pressure
# description: A connection without both thresholds fills the disk, and then nothing on that machine runs any more.
# custom:
#   id: no-back-pressure
#   remedy: set the back-pressure object threshold and data size threshold above 0
deny contains lib.denial(meta, _connection(connection), "a back-pressure threshold is 0 or missing") if {
	meta := rego.metadata.rule()
	some connection in input.connections
	_unbounded(connection)
}

# METADATA
# title: FlowFiles that expire
# description: A queue that drops what waits too long loses samples without a trace.
# custom:
#   id: flowfiles-expire
#   remedy: set FlowFile expiration to 0 sec; back-pressure holds the source instead
deny contains lib.denial(meta, _connection(connection), message) if {
	meta := rego.metadata.rule()
	some connection in input.connections
	not lib.nothing(connection.expiration)
	message := sprintf("FlowFiles expire after %s", [connection.expiration])
}

# METADATA
# title: No path for failures
# description: >-
#   A relationship for what could not be handled (failure, retry, rejected, unmatched, invalid, error) that is thrown
#   away or leads nowhere.
# custom:
#   id: no-failure-path
#   remedy: connect it to a retry, a dead-letter topic or a funnel where a person looks
deny contains lib.denial(meta, component, message) if {
	meta := rego.metadata.rule()
	some component in input.components
	some relationship in component.relationships
	regex.match(`(?i)fail|retry|reject|unmatched|invalid|error`, relationship)
	how := _lost(component, relationship)
	message := sprintf("relationship %s %s", [relationship, how])
}

_lost(component, relationship) := "is thrown away" if relationship in component.terminated

else := "leads nowhere" if not _connected(component, relationship)

_connected(component, relationship) if relationship in _outgoing[component.id]

_outgoing[connection.source.id] contains relationship if {
	some connection in input.connections
	some relationship in connection.relationships
}

_unbounded(connection) if object.get(connection, "objects", 0) <= 0

_unbounded(connection) if lib.nothing(object.get(connection, "size", ""))

_connection(connection) := {
	"kind": "connection",
	"name": sprintf("%s -> %s", [connection.source.name, connection.destination.name]),
	"id": connection.id,
}
