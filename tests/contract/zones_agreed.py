"""Who may reach whom between the members of the zones, written down by hand, apart from security/zones.toml."""

WITHIN = {
    ("jump", "kafka"): {9093},
    ("hub-nifi", "victoriametrics"): {8428},
    ("hub-nifi", "catalog"): {8181},
    ("hub-nifi", "s3"): {7070},
    ("hub-nifi", "registry"): {18080},
    ("hub-nifi", "keycloak"): {8443},
    ("catalog", "s3"): {7070},
    ("users", "hub-nifi"): {8443},
    ("users", "victoriametrics"): {8428},
    ("users", "catalog"): {8181},
    ("users", "s3"): {7070},
    ("users", "registry"): {18080},
    ("users", "keycloak"): {8443},
}
ACROSS = {
    ("edge-nifi", "plc"): {4840, 502},
    ("edge-nifi", "mosquitto"): {8883},
    ("edge-nifi", "kafka"): {9093},
    ("edge-nifi", "vault"): {8200},
    ("jump", "edge-nifi"): {8443},
    ("hub-nifi", "mosquitto"): {8883},
    ("hub-nifi", "kafka"): {9093},
    ("hub-nifi", "vault"): {8200},
}
FULL = {**WITHIN, **ACROSS}
PILOT = {
    ("edge-nifi", "plc"): {4840, 502},
    ("edge-nifi", "victoriametrics"): {8428},
    ("users", "edge-nifi"): {8443},
    ("users", "victoriametrics"): {8428},
}
ZONES = {
    "ot": {"plc"},
    "edge": {"edge-nifi"},
    "dmz": {"mosquitto", "kafka", "vault", "jump"},
    "it": {"hub-nifi", "victoriametrics", "catalog", "s3", "registry", "keycloak", "users"},
}
MEMBERS = sorted(set().union(*ZONES.values()))
ZONE = {member: zone for zone, members in ZONES.items() for member in members}
