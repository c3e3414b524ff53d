"""The guarded OPC UA client: the only module that imports asyncua's client.

Every service request passes `ReadOnlyGuard` before a byte of it is sent. What is not on its short allow-list
(Write, Call, AddNodes, HistoryUpdate, RegisterNodes, SetTriggering, ...) raises and is counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
import time
from collections import Counter
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast

from asyncua import ua
from asyncua.client.client import Client
from asyncua.client.ua_client import UaClientState
from asyncua.crypto.uacrypto import CertProperties
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.ua_binary import struct_from_binary
from asyncua.ua.uaerrors import UaStatusCodeError

from otmirror.errors import MirrorError, ReadOnlyError, UnavailableError
from otmirror.opcua import endpoints, faults, historyread, introduction, profiles, readings, references, security, wire
from otmirror.opcua.address import node_id
from otmirror.opcua.allowlist import ReadOnlyGuard
from otmirror.opcua.chunks import batched
from otmirror.opcua.config import OpcUaConfig
from otmirror.opcua.faults import ConnectionLostError, ServiceFaultError, UndecodableError
from otmirror.opcua.identity import Identity
from otmirror.opcua.pace import Pace
from otmirror.opcua.references import Reference
from otmirror.opcua.shapes import Shapes
from otmirror.opcua.usercert import UserCertificate

_GOODBYE = 2.0
_LEVEL_EVERY = 2.0
"""Seconds between two looks at the service level where there is another server to go to."""

# The client's own log repeats what the notices say, and at level DEBUG it writes passwords.
for _name in ("asyncua.client", "asyncua.uaprotocol", "asyncua.crypto"):
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)

T = TypeVar("T")
A = TypeVar("A")


class GuardedClient:
    """One connection with one session, for reading only. It belongs to one event loop and is used once.

    A small task of its own keeps the session and the secure channel alive between reads, however rare they are.
    """

    def __init__(
        self,
        config: OpcUaConfig,
        guard: ReadOnlyGuard | None = None,
        channel_lifetime: float = 3600.0,
        endpoint: str | None = None,
        pace: Pace | None = None,
    ):
        """Take the counters to go on with from an earlier connection, and the secure channel's lifetime in seconds.

        `endpoint` is the one of the configuration's servers to connect to, else the first; `pace` is what holds
        requests to that server back, from an earlier connection.
        """
        self._watched = bool(config.backups)
        self._config = replace(config, endpoint=endpoint or config.endpoint, backups=())
        self._pace = pace or Pace()
        self._guard = guard or ReadOnlyGuard()
        self._channel_lifetime = channel_lifetime
        self._client: Client | None = None
        self._shapes = Shapes()
        self._keeper: asyncio.Task[None] | None = None
        self._stage = "connecting"
        self._identity: Identity | None = None
        self._lost: str | None = None
        self.namespaces: list[str] = []
        self.max_nodes_per_read = 0
        """Nodes a Read, within every limit; 0 before `connect`."""
        self.build = profiles.BuildInfo()
        """What the server calls itself."""
        self.limits = profiles.effective({}, profiles.choose(config.profile, self.build), config.max_nodes)
        """What the server may be asked for; its own word counts from `connect` on."""
        self.started: datetime.datetime | None = None
        """When the server says it was started."""
        self.service_level: int | None = None
        """The server's health from 0 to 255 (OPC 10000-4, 6.6.2.4.2), kept up to date; None where it states none."""

    @property
    def endpoint(self) -> str:
        """The server's address."""
        return self._config.endpoint

    @property
    def sent(self) -> Counter[str]:
        """Requests sent, by service."""
        return self._guard.sent

    @property
    def refused(self) -> Counter[str]:
        """Requests refused because they are not on the allow-list, by service."""
        return self._guard.refused

    @property
    def alive(self) -> bool:
        """Whether the connection can be used, as far as is known."""
        return self._lost is None and self._client is not None and (
            self._client.uaclient.state is UaClientState.CONNECTED
        )  # fmt: skip

    @property
    def lost(self) -> str:
        """Why the connection cannot be used any more."""
        return self._lost or "the server closed the connection"

    @property
    def session_timeout(self) -> float:
        """Seconds the server keeps an abandoned session, as it revised them."""
        return float(self._client.session_timeout) / 1000 if self._client else self._config.session_timeout

    @property
    def warnings(self) -> list[tuple[str, str]]:
        """What the operator should know of this connection's security, each a key and a sentence."""
        return self._identity.warnings if self._identity else []

    def reminders(self) -> list[tuple[str, str]]:
        """Return once a day which certificates in use expire soon, as `warnings` has them; else nothing."""
        return self._identity.reminders() if self._identity else []

    @property
    def expiries(self) -> list[tuple[str, float]]:
        """The certificates in use: file's name (`server` for the server's) and end in seconds since 1970."""
        return self._identity.expiries if self._identity else []

    async def connect(self) -> None:
        """Open channel and session and read the server's namespaces, description, limits and service level.

        Takes at most the request timeout, and a little more for cleaning up after a failure.

        Raises:
            ConfigError: somebody has to change something (trust, policy, user token, PKI folder).
            UserRefusedError: the server refuses the user name or the password.
            UnavailableError: any other reason, in one clear message.
        """
        try:
            await asyncio.wait_for(self._open(), self._config.request_timeout)
        except (ServiceFaultError, UndecodableError, ConnectionLostError) as error:
            await self.close()
            raise UnavailableError(f"{self._config.endpoint}: {error} ({self._stage})") from None
        except (MirrorError, asyncio.CancelledError):
            await self.close()
            raise
        except Exception as error:
            await self.close()
            own, user = (self._identity.own_name, self._identity.user_name) if self._identity else (None, None)
            kind = faults.UserRefusedError if faults.refuses_user(error, self._config) else UnavailableError
            raise kind(faults.explain(error, self._stage, self._config, own, user)) from None
        self._keeper = asyncio.create_task(self._keep_alive())

    async def look(self) -> list[ua.EndpointDescription]:
        """Return the server's endpoints over a channel that is closed again, without a session.

        Takes at most the request timeout, and a little more for cleaning up.

        Raises:
            UnavailableError: there is no answer, or none that can be used, in one clear message.
        """
        client = self._client = Client(self._config.endpoint, timeout=self._config.request_timeout)
        client.uaclient.observer = self._guard
        self._guard.device = self._config.endpoint
        try:
            asked = client.connect_and_get_server_endpoints()
            return list(await asyncio.wait_for(asked, self._config.request_timeout))
        except Exception as error:
            raise UnavailableError(faults.explain(error, faults.ENDPOINTS, self._config, None, None)) from None
        finally:
            await self.close()

    async def read(self, nodes: Sequence[ua.ReadValueId]) -> list[ua.DataValue]:
        """Read attributes in one request: source and server timestamps, no value older than now.

        Raises:
            ServiceFaultError: the server refused the request as a whole.
            UndecodableError: its answer cannot be decoded.
            ConnectionLostError: the connection cannot be used any more.
        """
        request = ua.ReadParameters(MaxAge=0.0, TimestampsToReturn=ua.TimestampsToReturn.Both, NodesToRead=list(nodes))
        values: list[ua.DataValue] = await self._request(self._live.uaclient.read(request), "reading")
        if len(values) != len(nodes):
            raise UndecodableError(f"the server answered {len(values)} values to a request for {len(nodes)}")
        return values

    async def read_values(self, nodes: Sequence[bytes]) -> Sequence[readings.Reading]:
        """Read values as `read` does, of nodes encoded by `wire.node`; the cheap way for many, as columns if it can.

        Raises:
            ServiceFaultError: the server refused the request as a whole.
            UndecodableError: its answer cannot be decoded.
            ConnectionLostError: the connection cannot be used any more.
        """
        values = self._shapes.decode(await self.exchange(wire.READ, wire.read_body(nodes), "reading"))
        if len(values) != len(nodes):
            raise UndecodableError(f"the server answered {len(values)} values to a request for {len(nodes)}")
        return values

    async def exchange(
        self, service: wire.Service, body: Sequence[bytes], doing: str, timeout: float | None = None
    ) -> bytes:
        """Send a request of bytes and return its answer from behind the header on.

        Args:
            service: which one; the guard judges it as any other.
            body: the request's parameters, made by `wire`.
            doing: for messages, such as `reading`.
            timeout: seconds to wait, without a word to the server, which may hold the answer back that long; None:
                the request timeout. Such a request does not count for Max Requests Per Second.

        Raises:
            ServiceFaultError: the server refused the request as a whole.
            UndecodableError: its answer cannot be decoded.
            ConnectionLostError: the connection cannot be used any more.
        """
        return await self._request(self._exchanged(service, body, timeout), doing, paced=timeout is None)

    async def _exchanged(self, service: wire.Service, body: Sequence[bytes], timeout: float | None) -> bytes:
        client = self._live.uaclient
        if service not in wire.SERVICES:  # its bytes might be those of another service than the guard is asked about
            raise self._guard.refusal("of unknown bytes")
        with client.observer.observe_request(service.request()):
            if client.protocol is None:
                raise ConnectionError("Connection is not open")
            wait, hint = (self._config.request_timeout, -1.0) if timeout is None else (timeout, 0.0)
            return await wire.exchange(client.protocol, service, body, wait, hint)

    async def ask(self, request: Any, answer: type[A], doing: str) -> A:
        """Send a request and return its answer, both asyncua's own: for what is asked rarely.

        Raises:
            ServiceFaultError: the server refused the request as a whole.
            UndecodableError: its answer cannot be decoded.
            ConnectionLostError: the connection cannot be used any more.
        """
        return await self._request(self._asked(request, answer), doing)

    async def _asked(self, request: Any, answer: type[A]) -> A:
        client = self._live.uaclient
        with client.observer.observe_request(request):
            if client.protocol is None:
                raise ConnectionError("Connection is not open")
            data = await client.protocol.send_request(request)
        found: Any = struct_from_binary(answer, data)
        found.ResponseHeader.ServiceResult.check()
        return cast(A, found)

    async def history(
        self,
        nodes: Sequence[bytes],
        start_us: int,
        end_us: int,
        values: int,
        points: Sequence[bytes | None] = (),
        release: bool = False,
    ) -> list[historyread.Page]:
        """Read what the server has recorded of nodes in one request; arguments as of `historyread.request`.

        A server whose archive is away, or needs longer than the request timeout, does not end the connection: polls
        will show whether it is alive. The status of a page is that of its node only.

        Raises:
            ServiceFaultError: the server refused the request as a whole, or took too long (BadRequestTimeout).
            UndecodableError: its answer cannot be decoded.
            ConnectionLostError: the connection cannot be used any more.
        """
        asked = historyread.request(nodes, start_us, end_us, values, points, release)
        pages = await self._request(self._history(asked), "reading history")
        if isinstance(pages, int):
            raise ServiceFaultError(pages)
        return pages

    async def _history(self, request: ua.HistoryReadRequest) -> list[historyread.Page] | int:
        """Return the answer, or a status that says nothing of the session: the archive behind the server is busy."""
        try:
            data = await self._live.uaclient._send_request(request, self._config.request_timeout)
            released = request.Parameters.ReleaseContinuationPoints
            return [] if released else historyread.answer(data, len(request.Parameters.NodesToRead))
        except (TimeoutError, asyncio.TimeoutError):
            return int(faults.CODES.BadRequestTimeout)
        except UaStatusCodeError as error:
            if error.code in faults.BUSY:
                return int(error.code)
            raise

    async def browse(
        self, nodes: Sequence[ua.NodeId], kind: int = ObjectIds.HierarchicalReferences, inverse: bool = False
    ) -> list[list[Reference]]:
        """Return each node's references of a kind and its sub-types, forward or `inverse`.

        Raises:
            ServiceFaultError: the server refused the request as a whole.
            UndecodableError: its answer cannot be decoded.
            ConnectionLostError: the connection cannot be used any more.
        """
        body = wire.browse_body(nodes, node_id(kind), inverse)
        results = references.decode(await self.exchange(wire.BROWSE, body, "browsing"), len(nodes))
        found = [result.references for result in results]
        more = [(n, result.point) for n, result in enumerate(results) if result.point]
        while more:
            body = wire.browse_next_body([point for _, point in more])
            results = references.decode(await self.exchange(wire.BROWSE_NEXT, body, "browsing"), len(more))
            for (n, _), result in zip(more, results, strict=True):
                found[n] += result.references
            more = [(n, result.point) for (n, _), result in zip(more, results, strict=True) if result.point]
        return found

    async def close(self, keep_subscriptions: bool = False) -> None:
        """Close session, channel and socket within a bounded time, whatever state they are in. Never raises.

        With `keep_subscriptions` the server is asked to keep them for their lifetime, for a later session.
        """
        if self._keeper is not None:
            self._keeper.cancel()
        client, self._client = self._client, None
        if client is None:
            return
        transport = client.uaclient.protocol.transport if client.uaclient.protocol else None
        if keep_subscriptions:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(client.uaclient.close_session(False), _GOODBYE)
        for farewell in (client.close_session, client.close_secure_channel):
            with contextlib.suppress(Exception):
                await asyncio.wait_for(farewell(), _GOODBYE)
        client.disconnect_socket()
        if transport is not None and transport.get_write_buffer_size():
            transport.abort()  # a frozen server would keep the socket open for as long as it is frozen

    @property
    def _live(self) -> Client:
        if self._client is None:
            raise ConnectionLostError("the connection is closed")
        return self._client

    async def _request(self, work: Coroutine[Any, Any, T], doing: str, paced: bool = True) -> T:
        if paced:  # all but what keeps session and channel alive, which must not wait
            try:
                await self._pace.turn()
            except BaseException:
                work.close()
                raise
        began = time.monotonic()
        try:
            return await work
        except ReadOnlyError:
            raise
        except Exception as error:
            timeout = faults.is_timeout(error)
            if timeout:
                self._lost = (
                    f"no answer within {self._config.request_timeout:g} s while {doing}; if the server is only slow, "
                    "raise Request Timeout or lower Max Nodes Per Read"
                )
            elif isinstance(error, UaStatusCodeError) and error.code in faults.SESSION_GONE:
                self._lost = f"the server answered {faults.status_name(error.code)} while {doing}"
            if isinstance(error, UaStatusCodeError) and (self.alive or error.code in faults.REQUEST_TOO_LARGE):
                raise ServiceFaultError(error.code) from None
            if self.alive and not isinstance(error, OSError):
                raise UndecodableError(f"the server's answer cannot be decoded: {error}") from None
            raise ConnectionLostError(self.lost) from None
        finally:
            if paced:
                self._guard.took(time.monotonic() - began)

    async def _open(self) -> None:
        config = self._config
        self._identity = identity = Identity(config)
        own = identity.own
        client = self._client = Client(config.endpoint, timeout=config.request_timeout)
        client.uaclient.observer = self._guard
        self._guard.device = config.endpoint
        client.name = "otmirror"
        client.description = f"otmirror {config.source}"
        client.application_uri = own.application_uri if own else security.application_uri()
        client.product_uri = "urn:otmirror"
        client.session_timeout = round(config.session_timeout * 1000)
        client.secure_channel_timeout = round(self._channel_lifetime * 1000)
        self._stage = faults.ENDPOINTS
        endpoint = endpoints.choose(await client.connect_and_get_server_endpoints(), config)
        if own is not None:
            await self._secure(client, own, identity.accept(endpoint))
        await client.connect_socket()
        await client.send_hello()
        self._stage = faults.SECURE_CHANNEL
        await client.open_secure_channel()
        self._stage = "creating the session"
        await client.create_session()
        self._stage = faults.ACTIVATE
        before = self.sent["ActivateSession"]
        await self._log_in(client, identity.user)
        if self.sent["ActivateSession"] == before:
            raise ReadOnlyError("the read-only guard was bypassed: this version of asyncua cannot be used")
        self._stage = "reading its namespaces and limits"
        await self._read_server()

    async def _secure(self, client: Client, own: security.OwnCertificate, server: bytes) -> None:
        await client.set_security(
            endpoints.POLICY[self._config.policy],
            own.certificate,
            own.key,
            server_certificate=CertProperties(server, "der"),
            mode=endpoints.MODE[self._config.mode],
        )

    async def _log_in(self, client: Client, user: UserCertificate | None) -> None:
        """Activate the session with the user certificate, else with the configured user name, else anonymously."""
        config = self._config
        client._policy_ids = endpoints.best_first(client._policy_ids or (), config)
        if user is not None:
            client.user_private_key = user.key
            await client.activate_session(certificate=user.certificate)
            return
        policy = client.server_policy(ua.UserTokenType.UserName)
        endpoints.check_password(policy, client.security_policy.peer_certificate, config)
        await client.activate_session(username=config.username, password=config.password)

    async def _read_server(self) -> None:
        config, questions = self._config, introduction.QUESTIONS
        try:
            answers, _ = await batched(questions, len(questions), self.read)
        except UndecodableError:  # what a server says of itself must not keep its tags from being read
            answers = [*await self.read(questions[:1]), *(ua.DataValue() for _ in questions[1:])]
        told = introduction.understand(answers)
        self.namespaces, self.build, self.service_level = told.namespaces, told.build, told.service_level
        self.started = told.started
        profile = profiles.choose(config.profile, told.build)
        self.limits = profiles.effective(told.stated, profile, config.max_nodes, config.max_requests)
        self.max_nodes_per_read = self.limits.nodes_per_read
        self._pace.rate = self.limits.requests_per_second

    async def _keep_alive(self) -> None:
        """Keep the session and the channel alive, one not waiting for the other: a read may take long."""
        await asyncio.gather(self._show_interest(), self._renew_keys())

    async def _show_interest(self) -> None:
        """Read the server's state three times a session timeout."""
        while self.alive:
            most = _LEVEL_EVERY if self._watched else self.session_timeout
            await asyncio.sleep(max(0.1, min(most, self.session_timeout / 3)))
            with contextlib.suppress(ServiceFaultError, UndecodableError, ConnectionLostError):
                request = ua.ReadParameters(NodesToRead=list(introduction.STATE))
                answers = await self._request(self._live.uaclient.read(request), "looking at its state", False)
                self.service_level = introduction.service_level(answers)

    async def _renew_keys(self) -> None:
        """Renew the channel's keys before 75 % of their life are over (OPC 10000-4, 5.5.2.1)."""
        pause = 0.65
        while self.alive:
            await asyncio.sleep(max(0.1, pause * self._live.secure_channel_timeout / 1000))
            pause = 0.05
            with contextlib.suppress(ServiceFaultError, UndecodableError, ConnectionLostError):
                await self._request(self._live.open_secure_channel(renew=True), "renewing the secure channel", False)
                self._live.uaclient.revolve_security_token()
                pause = 0.65
