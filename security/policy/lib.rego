# METADATA
# title: What several rules need
package otmirror.lib

default site := {}

site := data.otmirror.site

# The allow-list of the project and that of the site; what the site says of a type counts.
approved := object.union(data.otmirror.policy.components, object.get(site, "components", {}))

# A denial, made of a rule's metadata, the component it is about and what is wrong with it.
denial(metadata, component, message) := {
	"rule": metadata.custom.id,
	"component": {"kind": component.kind, "name": component.name, "id": component.id},
	"message": message,
	"remedy": metadata.custom.remedy,
}

# What a text refers to is known only when the flow runs.
unknown(text) if contains(text, "${")

unknown(text) if contains(text, "#{")

# What of a text is known before the flow runs: all up to the first expression.
known_part(text) := regex.split(`[$#]\{`, text)[0]

# Milliseconds in a duration as NiFi writes it (FormatUtils): "50 ms", "1 sec", "2.5 hours"; undefined below a millisecond.
milliseconds(text) := to_number(parts[1]) * size if {
	parts := regex.find_all_string_submatch_n(`^\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*$`, lower(text), 1)[0]
	some size, names in _durations
	parts[2] in names
}

_durations := {
	1: ["ms", "milli", "millis", "millisecond", "milliseconds"],
	1000: ["s", "sec", "secs", "second", "seconds"],
	60000: ["m", "min", "mins", "minute", "minutes"],
	3600000: ["h", "hr", "hrs", "hour", "hours"],
	86400000: ["d", "day", "days"],
	604800000: ["w", "wk", "wks", "week", "weeks"],
}

# Whether a size or a duration as NiFi writes it is nothing: "0 B", "0.0 sec", "0".
nothing(text) if regex.match(`^\s*0*(\.0*)?\s*[A-Za-z]*\s*$`, text)

# Why a text looks like a secret; undefined when it does not.
secret_look(text) := looks[0] if {
	looks := [look.what |
		some look in _looks
		regex.match(look.pattern, regex.replace(text, `=file://\S+`, "="))
	]
}

_looks := [
	{"what": "a login with its password", "pattern": `://[^/@\s:$#{}]+:[^/@\s$#{}]+@`},
	{"what": "a private key", "pattern": `-----BEGIN [A-Z ]*PRIVATE KEY-----`},
	{"what": "a bearer token", "pattern": `(?i)\bbearer\s+[A-Za-z0-9._~+/-]{16,}`},
	{"what": "a JSON Web Token", "pattern": `\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.`},
	{"what": "a key of a known service", "pattern": `\b(AKIA|ASIA)[0-9A-Z]{16}\b|\bhv[sb]\.[A-Za-z0-9_-]{20,}|\bgh[pousr]_[A-Za-z0-9]{30,}|\bglpat-[A-Za-z0-9_-]{20,}`},
	{"what": "a password", "pattern": `(?i)(passwd|password|passphrase|secret|token|api[_-]?key)[a-z0-9_.-]*\s*[=:]\s*["']?[^\s"'$#{}<>/;,][^\s"'$#{}<>;,]{5,}`},
]

# Whether a name is that of a secret: its last word counts, so that "Password File" and "Token Type" are none.
secret_name(name) if regex.match(
	`(?i)(passw(or)?d|pwd|passphrase|secret|token|credentials?|authorization|(api|secret|private)[ ._-]?key)$`,
	name,
)
