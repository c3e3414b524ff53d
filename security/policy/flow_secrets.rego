package otmirror.flow

import data.otmirror.lib

# METADATA
# title: Secret in the file
# description: >-
#   A sensitive property or parameter with its value in the file, or a value that looks like a secret where everybody
#   can read it. The value itself is in no message; that of a sensitive one does not even reach the policy.
# custom:
#   id: literal-secret
#   remedy: 'take the value out of the file and change it; refer to a sensitive parameter, #{name}, whose value comes from Vault or the environment'
deny contains lib.denial(meta, secret.component, secret.message) if {
	meta := rego.metadata.rule()
	some secret in _secrets
}

_secrets contains _secret(component, sprintf("sensitive property %s has its value in the file", [name])) if {
	some component in input.components
	some name, property in component.properties
	property.sensitive
	property.literal
}

_secrets contains _secret(component, sprintf("property %s is that of a secret by its name, and not sensitive", [name])) if {
	some component in input.components
	some name, property in component.properties
	not property.sensitive
	property.literal
	lib.secret_name(name)
	not property.value in {"true", "false"}
}

_secrets contains _secret(component, sprintf("property %s holds %s", [name, look])) if {
	some component in input.components
	some name, property in component.properties
	look := lib.secret_look(property.value)
}

_secrets contains _secret(parameter, "a sensitive parameter has its value in the file") if {
	some parameter in input.parameters
	parameter.sensitive
	parameter.literal
}

_secrets contains _secret(parameter, "a parameter that is that of a secret by its name is not sensitive") if {
	some parameter in input.parameters
	not parameter.sensitive
	lib.secret_name(parameter.name)
}

_secrets contains _secret(parameter, sprintf("a parameter that everybody can read holds %s", [look])) if {
	some parameter in input.parameters
	look := lib.secret_look(parameter.value)
}

_secrets contains _secret(note, sprintf("its comment holds %s", [look])) if {
	some note in input.notes
	look := lib.secret_look(note.text)
}

_secret(component, message) := {"component": component, "message": message}
