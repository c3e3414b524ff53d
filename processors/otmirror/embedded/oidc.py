"""Where the users of an embedded NiFi log in: an OpenID Connect provider such as Keycloak."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import urlsplit

import requests

from otmirror.embedded.install import CONF
from otmirror.embedded.loopback import session
from otmirror.embedded.properties import escaped, parse
from otmirror.errors import ConfigError, UnavailableError

TEMPLATES = CONF / "https"
_WELL_KNOWN = "/.well-known/openid-configuration"


@dataclass(frozen=True)
class Oidc:
    """The OpenID Connect provider, and what NiFi is called there."""

    discovery: str
    """Its address that ends in /.well-known/openid-configuration."""
    client_id: str
    client_secret: str = field(repr=False)
    user_claim: str = "preferred_username"
    """What a user is called in NiFi; a claim that users cannot change themselves."""
    groups_claim: str = "groups"

    @classmethod
    def from_file(cls, file: Path) -> Oidc:
        """Read NAME=VALUE lines: discovery, client_id, client_secret_file; user_claim and groups_claim if they differ.

        Raises:
            ConfigError: a file cannot be read, or a name is missing or unknown.
        """
        given = {key: value for key, value in parse(_text(file)).items() if value}
        secret = given.pop("client_secret_file", None)
        needed, known = {"discovery", "client_id"}, {one.name for one in fields(cls)} - {"client_secret"}
        wrong = sorted(needed - set(given)) + ([] if secret else ["client_secret_file"]) or sorted(set(given) - known)
        if wrong or secret is None:
            raise ConfigError(f"{file}: {', '.join(wrong)}: missing or unknown (known: {', '.join(sorted(known))})")
        return cls(**given, client_secret=_text(file.parent / secret).strip())

    def render(self, conf: Path, trusted: Path) -> str:
        """Return NiFi's properties; the provider's description is kept in `conf` and used while it does not answer.

        NiFi asks for it once, when it starts, and would not start without an answer: a provider that is down must not
        keep the administrator out.

        Raises:
            ConfigError: what answers is no provider, or its certificate is not trusted by `trusted` (PEM).
            UnavailableError: it does not answer, and never did.
        """
        kept = conf / "openid-configuration.json"
        try:
            kept.write_text(json.dumps(self._described(trusted)))
        except UnavailableError:
            if not kept.exists():
                raise
        return Template((TEMPLATES / "oidc.properties").read_text()).substitute(
            discovery=kept.as_uri(),
            client_id=escaped(self.client_id),
            client_secret=escaped(self.client_secret),
            user_claim=escaped(self.user_claim),
            groups_claim=escaped(self.groups_claim),
        )

    def _described(self, trusted: Path) -> dict[str, Any]:
        if urlsplit(self.discovery).scheme != "https":
            raise ConfigError(f"{self.discovery}: an identity provider is only asked over https")
        try:
            with session(self.discovery) as asking:
                answer = asking.get(self.discovery, timeout=10, verify=str(trusted))
            told = answer.json() if answer.ok else None
        except requests.exceptions.SSLError:
            raise ConfigError(f"{self.discovery}: its certificate is not trusted by {trusted}") from None
        except requests.exceptions.JSONDecodeError:
            told = {}
        except requests.RequestException:
            raise UnavailableError(f"the identity provider at {self.discovery} cannot be reached") from None
        if told is None and answer.status_code >= 500:
            raise UnavailableError(f"the identity provider at {self.discovery} answered {answer.status_code}")
        # OpenID Connect Discovery 1.0, 4.3: a description is only that of the issuer whose address it was found under.
        if not isinstance(told, dict) or f"{told.get('issuer')}{_WELL_KNOWN}" != self.discovery:
            raise ConfigError(f"{self.discovery} is not the description of an OpenID Connect provider")
        return told


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{file}: not UTF-8") from None
