"""Whatever is secret is a sensitive property, which NiFi encrypts and never shows."""

import re

import pytest

from harness import PROCESSORS, details, load

SECRETS = {
    "ReadOpcUaTags": {"Password", "User Key Password"},
    "PollModbusReadOnly": set(),
    "ToVictoriaMetrics": {"Password"},
    "WriteIceberg": {"S3 Secret Key", "Catalog Credential"},
}
"""By hand: what somebody who has it could log in with."""
SOUNDS_SECRET = re.compile(r"passw|passphrase|secret|credential|token|private|\bpin\b", re.IGNORECASE)
HARMLESS = {"Allow Password Without Encryption"}
"""Sounds like a secret and holds none: `true` or `false`."""


@pytest.mark.parametrize("name", PROCESSORS)
def test_the_sensitive_properties_are_the_secrets(name: str) -> None:
    properties = load(name)(jvm=None).getPropertyDescriptors()
    sensitive = {one.name for one in properties if one.sensitive}
    assert SECRETS[name] <= sensitive
    assert {one.name for one in properties if SOUNDS_SECRET.search(one.name)} - HARMLESS <= sensitive
    assert {one.name for one in details(name).property_descriptions if one.sensitive} == sensitive
    for one in properties:
        assert not (one.sensitive and one.defaultValue), f"{one.name}: a secret with a default is none"
        if one.name in HARMLESS:
            assert one.allowableValues == ["true", "false"]
