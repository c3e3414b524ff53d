"""The certificates of one connection: what this side proves itself with, what the server shows, what to warn of."""

from __future__ import annotations

import datetime
from collections.abc import Callable

from asyncua import ua

from otmirror.opcua import chain, security, trust, usercert
from otmirror.opcua.config import DEPRECATED, FIRST_USE, OpcUaConfig

DAY = datetime.timedelta(days=1)


def utc_now() -> datetime.datetime:
    """Return the time now, with its zone."""
    return datetime.datetime.now(datetime.timezone.utc)


class Identity:
    """Certificates of a connection, read anew for each one: they may have been replaced in between.

    `own` is this client's, None without security; `user` is the user's, None for other kinds of user.
    """

    def __init__(self, config: OpcUaConfig, now: Callable[[], datetime.datetime] = utc_now):
        """Read the files; this client's own certificate is made when there is none.

        Raises:
            ConfigError: one of them cannot be used.
        """
        self._config, self._now, self._said = config, now, now()
        self._odd: list[tuple[str, str]] = []
        self._in_use: list[security.InUse] = []
        self.own = security.own_certificate(config.pki, self._said) if config.secure else None
        self.user: usercert.UserCertificate | None = None
        if config.user_certificate is not None and config.user_key is not None:
            self.user = usercert.load(config.user_certificate, config.user_key, config.user_key_password, self._said)
        if config.policy in DEPRECATED:
            text = (
                f"Security Policy {config.policy} is no longer safe: let the server offer Basic256Sha256 and use that"
            )
            self._odd.append(("policy", text))
        self._add_ours()

    def _add_ours(self) -> None:
        own, user = self.own, self.user
        if own is not None:
            name = f"this client's certificate {own.certificate}"
            advice = (
                f"replace it and {own.key.name}, or remove both so that new ones are made, and let the server trust "
                "the new one"
            )
            self._in_use.append(security.InUse("own", name, own.thumbprint, own.until, advice))
        if user is not None:
            name, until = f"the user certificate {user.file}", user.certificate.not_valid_after_utc
            advice = "replace it and its key, and let the server trust the new one"
            self._in_use.append(security.InUse("user", name, user.thumbprint, until, advice))

    def accept(self, endpoint: ua.EndpointDescription) -> bytes:
        """Return the server's certificate (DER) if it is trusted.

        Raises:
            ConfigError: it is not, or there is none.
        """
        host, port = self._config.host_port
        shown = trust.Shown.of(endpoint.ServerCertificate or b"", host, port, endpoint.Server.ApplicationUri or "")
        judge = trust.ServerTrust(self._config.pki, self._config.trust)
        self._odd += judge.check(shown, self._now())
        advice, pinned = "have it replaced on the server", judge.pinned(shown)
        if self._config.trust == FIRST_USE and pinned.exists():
            advice += f"; the new one has to be put in the place of {pinned}, unless a trusted authority issues it"
        name, until = f"the certificate of the server at {host}:{port}", shown.certificate.not_valid_after_utc
        self._in_use.append(security.InUse("server", name, chain.thumbprint(shown.der), until, advice))
        return shown.der

    @property
    def expiries(self) -> list[tuple[str, float]]:
        """When each certificate in use ends: its file's name (`server` for the server's), seconds since 1970."""
        files = {"own": self.own and self.own.certificate.name, "user": self.user and self.user.file.name}
        return [(files.get(one.key) or one.key, one.until.timestamp()) for one in self._in_use]

    @property
    def own_name(self) -> str | None:
        """This client's certificate as messages call it."""
        return f"{self.own.certificate} (thumbprint {self.own.thumbprint})" if self.own else None

    @property
    def user_name(self) -> str | None:
        """The user's certificate as messages call it."""
        return f"{self.user.file} (thumbprint {self.user.thumbprint})" if self.user else None

    @property
    def warnings(self) -> list[tuple[str, str]]:
        """What the operator should know, each a key and a sentence."""
        return self._odd + security.expiring(self._in_use, self._now())

    def reminders(self) -> list[tuple[str, str]]:
        """Return which certificates expire soon, but only when a day has passed since they were read or returned."""
        now = self._now()
        if now - self._said < DAY:
            return []
        self._said = now
        return security.expiring(self._in_use, now)
