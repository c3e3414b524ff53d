"""Which of a server's endpoints and user token policies to use, and whether a password may go there."""

from __future__ import annotations

from collections.abc import Sequence

from asyncua import ua
from asyncua.crypto.security_policies import (
    SecurityPolicy,
    SecurityPolicyAes128Sha256RsaOaep,
    SecurityPolicyAes256Sha256RsaPss,
    SecurityPolicyBasic128Rsa15,
    SecurityPolicyBasic256,
    SecurityPolicyBasic256Sha256,
    SecurityPolicyNone,
)

from otmirror.errors import ConfigError
from otmirror.opcua.config import DEPRECATED, OpcUaConfig

MODE = {
    None: ua.MessageSecurityMode.None_,
    "Sign": ua.MessageSecurityMode.Sign,
    "SignAndEncrypt": ua.MessageSecurityMode.SignAndEncrypt,
}
POLICY: dict[str, type[SecurityPolicy]] = {
    "None": SecurityPolicyNone,
    "Basic256Sha256": SecurityPolicyBasic256Sha256,
    "Aes128_Sha256_RsaOaep": SecurityPolicyAes128Sha256RsaOaep,
    "Aes256_Sha256_RsaPss": SecurityPolicyAes256Sha256RsaPss,
    "Basic128Rsa15": SecurityPolicyBasic128Rsa15,
    "Basic256": SecurityPolicyBasic256,
}
_OLD = {POLICY[name].URI for name in DEPRECATED}
_PROPERTIES = {
    ua.UserTokenType.UserName: "Username and Password",
    ua.UserTokenType.Certificate: "User Certificate File and User Key File",
}


def token_type(config: OpcUaConfig) -> ua.UserTokenType:
    """Return what the configured user logs in with."""
    if config.user_certificate is not None:
        return ua.UserTokenType.Certificate
    return ua.UserTokenType.UserName if config.username else ua.UserTokenType.Anonymous


def choose(endpoints: Sequence[ua.EndpointDescription], config: OpcUaConfig) -> ua.EndpointDescription:
    """Return the endpoint with the configured security and user token.

    Raises:
        ConfigError: the server has none; the message says what it offers.
    """
    wanted = POLICY[config.policy].URI, MODE[config.mode]
    endpoints = [e for e in endpoints if (e.EndpointUrl or "").startswith(ua.OPC_TCP_SCHEME)]
    matching = [e for e in endpoints if (e.SecurityPolicyUri, e.SecurityMode) == wanted]
    if not matching:
        offered = sorted({_security_of(endpoint) for endpoint in endpoints})
        asked = config.policy if config.mode is None else f"{config.policy} {config.mode}"
        raise ConfigError(
            f"the server at {config.endpoint} does not offer {asked}; it offers {', '.join(offered) or 'nothing'}: "
            "change Security Policy or Security Mode"
        )
    token = token_type(config)
    tokens = {policy.TokenType for endpoint in matching for policy in endpoint.UserIdentityTokens or ()}
    if tokens and token not in tokens:
        offered = sorted(t.name for t in tokens)
        raise ConfigError(
            f"the server at {config.endpoint} does not accept {token.name} logins with this security, only "
            f"{', '.join(offered)}: {_change(token, tokens)}, or choose other security"
        )
    with_token = [e for e in matching if any(p.TokenType == token for p in e.UserIdentityTokens or ())]
    return (with_token or matching)[0]


def _change(token: ua.UserTokenType, offered: set[ua.UserTokenType]) -> str:
    steps = [f"set {name}" for kind, name in _PROPERTIES.items() if kind in offered and kind != token]
    if token not in _PROPERTIES:
        return " or ".join(steps) or "let the server accept it"
    remove = f"remove {_PROPERTIES[token]}"
    return f"{remove} and {' or '.join(steps)}" if steps and ua.UserTokenType.Anonymous not in offered else remove


def best_first(policies: Sequence[ua.UserTokenPolicy], config: OpcUaConfig) -> list[ua.UserTokenPolicy]:
    """Return a server's user token policies with those first that protect best, else in the server's order.

    A server may name several for one kind of user, and nothing says that the first is the best. A policy without one of
    its own takes the endpoint's (OPC 10000-4, 7.41). An unknown policy comes last.
    """

    def rank(policy: ua.UserTokenPolicy) -> int:
        uri = policy.SecurityPolicyUri or POLICY[config.policy].URI
        if uri == SecurityPolicyNone.URI:
            return 2
        if uri in _OLD:
            return 1
        return 0 if uri in {known.URI for known in POLICY.values()} else 3

    return sorted(policies, key=rank)


def check_password(policy: ua.UserTokenPolicy, certificate: bytes | None, config: OpcUaConfig) -> None:
    """Refuse to send a password that nothing would reliably protect.

    Args:
        policy: the user token policy of the endpoint that will be used.
        certificate: the server's certificate, if it shows one.
        config: the source's configuration.

    Raises:
        ConfigError: it would go unprotected, which was not allowed, or the server cannot take it protected.
    """
    if not config.password:
        return
    uri = policy.SecurityPolicyUri or ""
    plain = uri in ("", SecurityPolicyNone.URI)
    if not plain and not certificate:
        raise ConfigError(
            f"the server at {config.endpoint} wants the password encrypted, but shows no certificate to encrypt it "
            "with: give the server a certificate"
        )
    if config.allow_plain_password or config.mode == "SignAndEncrypt":
        return
    if plain:
        raise ConfigError(
            f"the server at {config.endpoint} wants the password unencrypted: use Security Mode SignAndEncrypt, "
            "or set Allow Password Without Encryption to true if the network in between is trusted"
        )
    if uri in _OLD and not config.allow_deprecated:
        raise ConfigError(
            f"the server at {config.endpoint} wants the password encrypted by {uri.rpartition('#')[2]}, which is no "
            "longer safe: use Security Mode SignAndEncrypt, or set Allow Deprecated Security to true"
        )


def _security_of(endpoint: ua.EndpointDescription) -> str:
    policy = (endpoint.SecurityPolicyUri or "").rpartition("#")[2]
    mode = ua.MessageSecurityMode(endpoint.SecurityMode).name.rstrip("_")
    return policy if policy == mode else f"{policy} {mode}"
