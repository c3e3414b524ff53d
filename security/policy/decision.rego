# METADATA
# title: What is asked
# description: >-
#   The one query: what is denied in a document, and which of the site's waivers were used. A document is what
#   `otmirror policy check` makes of a flow or a compose file; docs/policy.md has its form.
package otmirror

import data.otmirror.compose
import data.otmirror.flow

decision := {"denied": flow.deny, "waived": flow.waived} if input.kind == "flow"

decision := {"denied": compose.deny, "waived": set()} if input.kind == "compose"
