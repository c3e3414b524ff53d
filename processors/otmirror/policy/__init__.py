"""Policy as code: flows and compose files against the rules of security/policy, by the Open Policy Agent."""
