"""What went wrong between this client and a server, told apart in the operator's words."""

from __future__ import annotations

import asyncio
import errno
import re
import socket

from asyncua import ua
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.uaerrors import UaStatusCodeError

from otmirror.errors import UnavailableError
from otmirror.opcua.config import OpcUaConfig

CODES = StatusCodes


class ServiceFaultError(UnavailableError):
    """The server answered a request as a whole with a bad status, in `code`; the connection is still good."""

    def __init__(self, code: int):
        self.code = code
        super().__init__(f"the server answered {status_name(code)}")


class UndecodableError(UnavailableError):
    """The server's answer cannot be decoded; the connection is still good."""


class ConnectionLostError(UnavailableError):
    """The connection cannot be used any more."""


class UserRefusedError(UnavailableError):
    """The server refuses the user name or the password: trying again soon may lock the account."""


REQUEST_TOO_LARGE = frozenset((CODES.BadTooManyOperations, CODES.BadRequestTooLarge, CODES.BadTcpMessageTooLarge))
"""A request for fewer nodes may pass."""

ANSWER_TOO_LARGE = frozenset((CODES.BadResponseTooLarge, CODES.BadEncodingLimitsExceeded))
"""A request for fewer nodes may pass, or for others: the value of one node can be too large by itself."""

SESSION_GONE = frozenset(
    (
        CODES.BadSessionIdInvalid,
        CODES.BadSessionClosed,
        CODES.BadSessionNotActivated,
        CODES.BadSecureChannelIdInvalid,
        CODES.BadSecureChannelClosed,
        CODES.BadSecurityChecksFailed,
        CODES.BadConnectionClosed,
        CODES.BadServerHalted,
        CODES.BadShutdown,
        CODES.BadServerNotConnected,
        CODES.BadCommunicationError,
        CODES.BadTimeout,
        CODES.BadOutOfMemory,
        CODES.BadTcpServerTooBusy,
    )
)
"""No request passes any more on this session: it takes a new one."""

BUSY = frozenset(
    (
        CODES.BadRequestTimeout,
        CODES.BadTimeout,
        CODES.BadCommunicationError,
        CODES.BadServerNotConnected,
        CODES.BadOutOfMemory,
        CODES.BadResourceUnavailable,
        CODES.BadTcpServerTooBusy,
    )
)
"""A request for history may pass later."""

_WRONG_USER = frozenset((CODES.BadUserAccessDenied, CODES.BadIdentityTokenRejected, CODES.BadIdentityTokenInvalid))
_OUR_CERTIFICATE = frozenset(
    (
        CODES.BadCertificateUntrusted,
        CODES.BadSecurityChecksFailed,
        CODES.BadCertificateInvalid,
        CODES.BadCertificateTimeInvalid,
        CODES.BadCertificateUriInvalid,
        CODES.BadCertificateUseNotAllowed,
        CODES.BadCertificateChainIncomplete,
        CODES.BadCertificateIssuerTimeInvalid,
        CODES.BadCertificatePolicyCheckFailed,
        CODES.BadCertificateRevocationUnknown,
        CODES.BadCertificateRevoked,
    )
)
_USER_CERTIFICATE = _WRONG_USER | _OUR_CERTIFICATE | {CODES.BadUserSignatureInvalid}


def status_name(code: int) -> str:
    """Return a status code's name and number, such as `BadTimeout (0x800A0000)`."""
    return f"{ua.StatusCode(code).name} (0x{code:08X})"  # type: ignore[arg-type]


def is_timeout(error: BaseException) -> bool:
    """Return whether a time limit passed (asyncio had an exception of its own before Python 3.11)."""
    return isinstance(error, (TimeoutError, asyncio.TimeoutError))


def refuses_user(error: Exception, config: OpcUaConfig) -> bool:
    """Return whether the server refused the configured user name or password."""
    return bool(config.username) and isinstance(error, UaStatusCodeError) and error.code in _WRONG_USER


def explain(error: Exception, stage: str, config: OpcUaConfig, certificate: str | None, user: str | None = None) -> str:
    """Say why a connection could not be made, and what to do.

    Args:
        error: what the attempt ended in.
        stage: what was being done, such as `opening the secure channel`.
        config: the source's configuration.
        certificate: this client's certificate file and thumbprint, when security is on.
        user: the user certificate's file and thumbprint, when there is one.
    """
    host, port = config.host_port
    where = f"{host}:{port}"
    if isinstance(error, socket.gaierror):
        return f"the host {host!r} of {config.endpoint} is unknown: check Endpoint URL and name resolution (DNS)"
    if is_timeout(error):
        return f"{where} did not answer within {config.request_timeout:g} s while {stage}"
    if isinstance(error, UaStatusCodeError):
        if user and stage == ACTIVATE and error.code in _USER_CERTIFICATE:
            return (
                f"the server at {where} refuses the user certificate {user} ({status_name(error.code)}): let the "
                "server trust it as a user's, which is another list than that of clients, and let this user read"
            )
        return _explain_status(error.code, stage, where, config, certificate)
    if _errno(error) == errno.ECONNREFUSED:
        return f"nothing listens at {where} (connection refused): check that the server runs and the port is right"
    if certificate and stage == SECURE_CHANNEL:  # asyncua does not always say what the server answered
        return f"the server at {where} refused this client while {stage}; {_trust_us(certificate)}"
    if isinstance(error, OSError):
        hint = "; check that it is an OPC UA server that listens there" if stage == ENDPOINTS else ""
        return f"no connection to {where} while {stage}: {error.strerror or error}{hint}"
    return f"{type(error).__name__} at {where} while {stage}: {error}"


ENDPOINTS = "asking for its endpoints"
SECURE_CHANNEL = "opening the secure channel"
ACTIVATE = "activating the session"


def _explain_status(code: int, stage: str, where: str, config: OpcUaConfig, certificate: str | None) -> str:
    name = status_name(code)
    if code in _WRONG_USER and config.username:
        return f"the server at {where} refuses user {config.username!r}: wrong user name or password ({name})"
    if code in _WRONG_USER:
        login = "set Username and Password, or User Certificate File and User Key File"
        return f"the server at {where} refuses anonymous access: {login} ({name})"
    if certificate and code in _OUR_CERTIFICATE:
        return f"the server at {where} refused this client while {stage} ({name}); {_trust_us(certificate)}"
    if code == CODES.BadTooManySessions:
        return f"the server at {where} has no session left ({name}): close other clients or raise its session limit"
    if code in (CODES.BadSecurityPolicyRejected, CODES.BadSecurityModeRejected):
        return f"the server at {where} refuses Security Policy {config.policy}, Security Mode {config.mode} ({name})"
    if code == CODES.BadTcpEndpointUrlInvalid:
        return f"the server at {where} does not know the path of {config.endpoint} ({name}): check Endpoint URL"
    return f"the server at {where} answered {name} while {stage}"


def _trust_us(certificate: str) -> str:
    return f"it probably does not trust this client's certificate: let the server trust {certificate}"


def _errno(error: Exception) -> int | None:
    """Return an OSError's number; asyncio hides it in the text when a name has several addresses."""
    if not isinstance(error, OSError):
        return None
    found = re.search(r"\[Errno (\d+)\]", str(error))
    return error.errno or (int(found[1]) if found else None)
