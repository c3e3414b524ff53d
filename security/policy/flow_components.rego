package otmirror.flow

import data.otmirror.lib

# METADATA
# title: Write-capable component
# description: >-
#   A component that can run any program or code, send any bytes, or write to a device. No allow-list opens it, the
#   site's neither: the mirror only reads.
# custom:
#   id: write-capable
#   remedy: take it out; the mirror only reads, and what has to be written is not its job
deny contains lib.denial(meta, component, message) if {
	meta := rego.metadata.rule()
	some component in input.components
	message := write_capable(component)
}

# METADATA
# title: Component off the allow-list
# description: >-
#   A processor, controller service, parameter provider or remote process group whose type or bundle nobody approved,
#   or a service outside the file, which cannot be looked at.
# custom:
#   id: component-not-allowed
#   remedy: use an approved type, or have the site's owner add the type and its bundle to `components` of the site file
deny contains lib.denial(meta, component, message) if {
	meta := rego.metadata.rule()
	some component in input.components
	not write_capable(component)
	message := _not_allowed(component)
}

write_capable(component) := sprintf("%s: %s", [component.type, because]) if {
	reasons := [known.because |
		some known in data.otmirror.policy.write_capable
		regex.match(known.pattern, component.type)
	]
	because := reasons[0]
} else := sprintf("%s with %s %s changes what it talks to", [component.type, method.property, used]) if {
	method := data.otmirror.policy.methods[component.type]
	used := object.get(component.properties, [method.property, "value"], "of unknown value")
	not used in method.reads
}

_not_allowed(component) := sprintf("type %s is not approved", [component.type]) if {
	not lib.approved[component.type]
} else := sprintf("bundle %s of type %s is not the approved one, %s", [component.bundle, component.type, wanted]) if {
	wanted := lib.approved[component.type].bundle
	component.bundle != wanted
}
