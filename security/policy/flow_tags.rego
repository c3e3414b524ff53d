package otmirror.flow

import data.otmirror.lib

# METADATA
# title: Tag or topic outside what is approved
# description: >-
#   A topic, a template of tags, or a tag of a tag list that does not begin with a prefix of the site. What a template
#   begins with before its first ${...} counts; ${tag} stands for every tag the site approves.
# custom:
#   id: tag-prefix
#   remedy: use an approved prefix, or have the site's owner add it to `topics` or `tags` of the site file
deny contains lib.denial(meta, component, message) if {
	meta := rego.metadata.rule()
	some [component, message] in _outside
}

_outside contains [component, sprintf("topic %s (property %s) is not approved", [topic, name])] if {
	some component in input.components
	some name in lib.approved[component.type].topics
	some topic in _topics(component.properties[name].value)
	some meant in _meant(topic)
	not _begins(meant, object.get(lib.site, "topics", []))
}

_outside contains [component, sprintf("tags %s (property %s) are not approved", [template, name])] if {
	some component in input.components
	some name in lib.approved[component.type].tags
	template := component.properties[name].value
	not _begins(regex.split(`\$?\{`, template)[0], object.get(lib.site, "tags", []))
}

_outside contains [component, sprintf("%d tags are not approved, the first is %s", [count(tags), tags[0]])] if {
	some component in input.components
	tags := [one.tag |
		some one in object.get(component, "tag_list", [])
		not _begins(one.tag, object.get(lib.site, "tags", []))
	]
	count(tags) > 0
}

# A regular expression is approved as it stands; all else may be a list.
_topics(value) := {value} if value in object.get(lib.site, "topics", [])

else := {trim_space(part) | some part in split(value, ",")}

# What a template of a topic can begin with.
_meant(topic) := {lib.known_part(topic)} if not contains(topic, "${tag}")

else := {lib.known_part(replace(topic, "${tag}", prefix)) | some prefix in object.get(lib.site, "tags", [])}

# An entry that ends in a separator approves what begins with it, any other one only itself.
_begins(text, entries) if text in entries

_begins(text, entries) if {
	some entry in entries
	regex.match(`[/.]$`, entry)
	startswith(text, entry)
	# A regular expression may mean more than what it begins with.
	not regex.match(`[|*?()\[\]\\^]`, text)
}

# METADATA
# title: Poll faster than the device may be asked
# description: >-
#   A poll or sampling interval, of a property or of a tag list at hand, below the shortest one of a device it asks,
#   or one that is known only when the flow runs. A device without a limit of its own has that of the policy.
# custom:
#   id: poll-too-fast
#   remedy: poll more slowly, or have the device's owner agree to a smaller shortest_poll_ms in `devices` of the site file
deny contains lib.denial(meta, component, message) if {
	meta := rego.metadata.rule()
	some [component, message] in _too_fast
}

_too_fast contains [component, sprintf("%s is %s; %s may be asked every %d ms", [name, value, device.address, limit])] if {
	some device in endpoints
	component := device.component
	some name in lib.approved[component.type].intervals
	value := component.properties[name].value
	limit := _limit(device)
	not _slow(value, limit)
}

_too_fast contains [component, sprintf("%d tags ask every %d ms or less; %s may be asked every %d ms", [count(fast), max(fast), device.address, limit])] if {
	some device in endpoints
	component := device.component
	lib.approved[component.type].intervals
	limit := _limit(device)
	fast := [interval |
		some one in object.get(component, "tag_list", [])
		interval := one.intervals_ms[_]
		interval < limit
	]
	count(fast) > 0
}

_slow(value, limit) if lib.milliseconds(value) >= limit

# The strictest limit of the entries that are meant.
_limit(device) := max(limits) if {
	limits := {object.get(one, "shortest_poll_ms", data.otmirror.policy.shortest_poll_ms) |
		some one in object.get(lib.site, "devices", [])
		_matches(one.endpoint, device)
	}
	count(limits) > 0
} else := data.otmirror.policy.shortest_poll_ms
