"""The plant's OPC UA server: one object a well, one variable a sensor, and a setpoint that clients may write."""

from __future__ import annotations

import asyncio
import hmac
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from asyncua import ua as asyncua_ua
from asyncua.crypto.cert_gen import setup_self_signed_certificate
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.crypto.truststore import TrustStore
from asyncua.crypto.validator import CertificateValidator, CertificateValidatorOptions
from asyncua.server.server import Server
from asyncua.server.user_managers import UserManager
from cryptography.x509.oid import ExtendedKeyUsageOID

from otmirror.clock import Clock
from otmirror.errors import ConfigError
from otmirror.plant import queues
from otmirror.plant.faults import NONE, Faults
from otmirror.plant.pacing import Feed, Metronome, Moment
from otmirror.plant.sampler import Sampler
from otmirror.plant.well import Well
from otmirror.status import STATUS

HOST, PATH = "127.0.0.1", "otmirror/plant"
NAMESPACE, APPLICATION = "urn:otmirror:plant", "urn:otmirror:plant:server"

# asyncua's annotations ask for its wire types (UInt32) where it takes plain numbers and strings.
ua: Any = asyncua_ua

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_NO_SENSOR = ua.StatusCode(STATUS["BadSensorFailure"])
_NO_DATA = ua.StatusCode(STATUS["BadNoData"])
_CHECKED = CertificateValidatorOptions.TRUSTED_VALIDATION | CertificateValidatorOptions.PEER_CLIENT
# asyncua looks through all of a parent's references for each child it adds.
_FOLDER_SIZE = 100


@dataclass(frozen=True)
class Access:
    """Who may connect: with `folder` also over Basic256Sha256, with `user` only by name and password."""

    folder: Path | None = None
    trusted: Path | None = None
    """Folder of certificates (.der, .pem): no others, nor what they did not issue, get in, and none without."""
    user: str | None = None
    password: str | None = None


class _Users(UserManager):
    """Lets everybody in, or with a name configured only that one; nobody is an administrator."""

    def __init__(self, access: Access):
        self._access = access

    def get_user(
        self,
        iserver: Any,
        username: str | None = None,
        password: str | None = None,
        certificate: Any = None,
    ) -> User | None:
        wanted = self._access
        if wanted.user is not None:
            right = hmac.compare_digest((password or "").encode(), (wanted.password or "").encode())
            if username != wanted.user or not right:
                return None
        return User(role=UserRole.User)


class OpcUaServer:
    """Serves wells on 127.0.0.1; values are made when they are read or reported, so that idle tags cost nothing.

    A subscription gets each row as the metronome goes on, 20 a second at most. In lock-step with its readers there is
    no metronome: a subscription is no reader, so it gets what is there when it begins and advances nothing.
    """

    def __init__(
        self,
        wells: Sequence[tuple[Well, Feed]],
        port: int,
        access: Access,
        clock: Clock,
        faults: Callable[[], Faults] = lambda: NONE,
        metronome: Metronome | None = None,
    ):
        """Take the wells with their feeds; port 0 lets the system choose one; `faults` tells what is wrong now.

        `metronome` says when rows change; without it nothing is reported to subscriptions.
        """
        self._wells, self._port, self._access, self._clock = wells, port, access, clock
        self._faults, self._metronome = faults, metronome
        self._server: Any = None
        self._sensors: dict[Any, Callable[[], Any]] = {}
        self._sampler: Sampler | None = None

    @property
    def url(self) -> str:
        """The endpoint; after `start` with the real port."""
        return f"opc.tcp://{HOST}:{self._port}/{PATH}"

    async def build(self) -> None:
        """Build the address space; thousands of tags take seconds.

        Raises:
            ConfigError: the security folder cannot be used, or the asyncua that is installed.
        """
        files = await _certificate(self._access.folder) if self._access.folder is not None else None
        self._server = Server(user_manager=_Users(self._access))
        service = queues.install(self._server, self._look)
        if self._metronome is not None:
            self._sampler = Sampler(service, self._sensors, self._metronome)
        await self._server.init()
        self._server.set_server_name("otmirror plant")
        await self._server.set_application_uri(APPLICATION)
        self._server.set_endpoint(self.url)
        await self._secure(files)
        namespace = await self._server.register_namespace(NAMESPACE)
        for well, feed in self._wells:
            await self._add(namespace, well, feed)
            # Nothing above waits for anything: without this a signal would have to wait for all wells.
            await asyncio.sleep(0)

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the port cannot be had.
        """
        await self._server.start()
        self._port = self._server.bserver.port
        for endpoint in self._server.iserver.endpoints:
            endpoint.EndpointUrl = self.url
        if self._sampler is not None:
            self._sampler.start()

    async def stop(self) -> None:
        """Close every session and stop listening."""
        sampler, self._sampler = self._sampler, None
        if sampler is not None:
            await sampler.stop()
        if self._server is not None and self._server.bserver is not None:
            await self._server.stop()
        self._server = None

    async def _secure(self, files: tuple[Path, Path] | None) -> None:
        policies = [ua.SecurityPolicyType.NoSecurity]
        if files is not None:
            await self._server.load_private_key(files[0])
            await self._server.load_certificate(files[1])
            policies.append(ua.SecurityPolicyType.Basic256Sha256_Sign)
            policies.append(ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt)
        if self._access.trusted is not None:
            policies = [ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt]
            store = TrustStore([self._access.trusted], [])
            await store.load()
            self._server.set_certificate_validator(CertificateValidator(_CHECKED, store))
        self._server.set_security_policy(policies)
        token = ua.AnonymousIdentityToken if self._access.user is None else ua.UserNameIdentityToken
        self._server.set_identity_tokens([token])

    async def _add(self, namespace: int, well: Well, feed: Feed) -> None:
        def names(name: str) -> tuple[Any, Any]:
            path = well.name if name == well.name else f"{well.name}.{name}"
            return ua.NodeId(path, namespace), ua.QualifiedName(name, namespace)

        top = await self._server.nodes.objects.add_object(*names(well.name))
        setpoint = await top.add_variable(*names("Setpoint"), 0.0, ua.VariantType.Double)
        await setpoint.set_writable()
        parent = top
        for index, sensor in enumerate(well.recording.sensors):
            if index and index % _FOLDER_SIZE == 0:
                parent = await top.add_folder(*names(f"From {sensor.name}"))
            node = await parent.add_variable(*names(sensor.name), 0.0, ua.VariantType.Double)
            read = self._reader(well, feed, index)
            self._server.iserver.set_attribute_value_callback(node.nodeid, read)
            self._sensors[node.nodeid] = self._looker(well, feed, index)

    def _reader(self, well: Well, feed: Feed, index: int) -> Callable[[object, object], Any]:
        def read(_node: object, _attribute: object) -> Any:
            return self._data_value(well, feed.next(index), index)

        return read

    def _looker(self, well: Well, feed: Feed, index: int) -> Callable[[], Any]:
        return lambda: self._data_value(well, feed.now(index), index)

    def _look(self, node: Any, attribute: Any) -> Any:
        """Return what a monitored item sees: the same as a reader, without being one."""
        present = self._sensors.get(node) if attribute == ua.AttributeIds.Value else None
        return present() if present else self._server.iserver.aspace.read_attribute_value(node, attribute)

    def _data_value(self, well: Well, moment: Moment, index: int) -> Any:
        faults = self._faults()
        times = {
            "SourceTimestamp": _EPOCH + timedelta(microseconds=moment.ts, seconds=faults.clock_s),
            "ServerTimestamp": _EPOCH + timedelta(microseconds=self._clock.now_us()),
        }
        if moment.row is None:
            return ua.DataValue(StatusCode=_NO_DATA, **times)
        value = well.recording.values(moment.row)[index]
        if math.isnan(value) or (faults.bad and well.recording.sensors[index].name in faults.bad):
            return ua.DataValue(StatusCode=_NO_SENSOR, **times)
        return ua.DataValue(ua.Variant(value, ua.VariantType.Double), **times)


async def _certificate(folder: Path) -> tuple[Path, Path]:
    """Return the server's key (PEM) and certificate (DER), made on first use."""
    key, certificate = folder / "plant-key.pem", folder / "plant-cert.der"
    try:
        folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - nothing is served yet
        await setup_self_signed_certificate(
            key,
            certificate,
            APPLICATION,
            "127.0.0.1",
            [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH],
            {"commonName": "otmirror plant", "organizationName": "otmirror"},
        )
        key.chmod(0o600)
    except (OSError, ValueError) as error:
        raise ConfigError(f"security folder {folder} cannot hold the plant's certificate: {error}") from None
    return key, certificate
