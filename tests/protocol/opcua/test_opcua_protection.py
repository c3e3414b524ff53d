"""What protects a password and the messages: policies of yesterday, passwords in the open, keys renewed under load."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asyncua import Server as AsyncuaServer
from asyncua import ua
from asyncua.crypto.permission_rules import SimpleRoleRuleset
from certificates import server as server_certificate
from opcua_server import PLANT, Server, all_bad, all_good, free_port, messages, rows, tags

from otmirror.errors import MistakesError
from otmirror.loopthread import LoopThread
from otmirror.opcua import wire
from otmirror.opcua.address import value_of
from otmirror.opcua.config import OpcUaConfig
from otmirror.opcua.guard import GuardedClient
from otmirror.opcua.reader import OpcUaReader

Connect = Callable[..., OpcUaReader]
Start = Callable[..., Server]
USER: dict[str, Any] = {"username": "operator", "password": "s3cret-\u00e4"}
TAGS = tags("Type.Double", "Type.Int64")
OLD = ("Basic128Rsa15", "Basic256")


def refused(reader: OpcUaReader) -> str:
    assert all_bad(rows(reader.read()))
    return messages(reader)


def accepted(reader: OpcUaReader) -> str:
    good = all_good(rows(reader.read()))
    told = messages(reader)
    assert good, told
    return told


# -- policies that are no longer safe


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of yesterday. Node.js decrypts PKCS #1 v1.5 only when it is told to."""
    plc = Server(
        tmp_path_factory.mktemp("old"), security=["Sign", "SignAndEncrypt"], policies=list(OLD), acceptAnyClient=True,
        users={"operator": USER["password"]}, node_flags=["--security-revert=CVE-2023-46809"],
    )  # fmt: skip
    yield plc
    plc.close()


@pytest.mark.parametrize("mode", ["Sign", "SignAndEncrypt"])
@pytest.mark.parametrize("policy", OLD)
def test_an_old_policy_works_when_it_is_asked_for_and_is_warned_of(
    old: Server, connect: Connect, policy: str, mode: str
) -> None:
    for user in ({}, USER):
        told = accepted(connect(old, TAGS, policy=policy, mode=mode, allow_deprecated=True, **user))
        assert f"warn: opcua:127.0.0.1:{old.port}: Security Policy {policy} is no longer safe" in told


@pytest.mark.parametrize("policy", OLD)
def test_an_old_policy_is_a_mistake_unless_it_is_asked_for(policy: str) -> None:
    with pytest.raises(MistakesError, match=f"{policy} is no longer safe; .* set Allow Deprecated Security to true"):
        OpcUaConfig("opc.tcp://plc", TAGS, policy=policy)


def test_no_warning_with_a_policy_of_today(old: Server, connect: Connect) -> None:
    told = accepted(connect(old, TAGS, policy="Basic256Sha256", allow_deprecated=True))
    assert "no longer safe" not in told


# -- passwords


@pytest.fixture
def bare() -> Iterator[Callable[..., str]]:
    """Starts servers that have no certificate, or offer what node-opcua does not; returns their addresses."""
    loop, running = LoopThread("bare"), []

    async def run(policies: list[ua.SecurityPolicyType], certificate: Any, token: str | None) -> str:
        plc = AsyncuaServer()
        await plc.init()
        plc.set_endpoint(f"opc.tcp://127.0.0.1:{free_port()}")
        plc.set_security_policy(policies, permission_ruleset=SimpleRoleRuleset())
        plc.set_identity_tokens([ua.UserNameIdentityToken])
        if certificate is not None:
            await plc.load_certificate(certificate.der)
            await plc.load_private_key(certificate.key_pem, format="pem")
        await plc.start()
        running.append(plc)
        for endpoint in plc.iserver.endpoints:
            for policy in endpoint.UserIdentityTokens:
                policy.SecurityPolicyUri = policy.SecurityPolicyUri if token is None else token
        return str(plc.endpoint.geturl())

    def _start(*policies: str, certificate: Any = None, token: str | None = None) -> str:
        chosen = [getattr(ua.SecurityPolicyType, policy) for policy in policies]
        return loop.run(run(chosen, certificate, token), 30)

    yield _start
    for plc in running:
        loop.run(plc.stop(), 20)
    loop.close()


NONE_URI = "http://opcfoundation.org/UA/SecurityPolicy#None"


def test_a_password_for_a_server_without_security_is_a_mistake_unless_allowed() -> None:
    with pytest.raises(MistakesError, match="Password: Security Policy None does not protect it") as error:
        OpcUaConfig("opc.tcp://plc", TAGS, **USER)
    assert USER["password"] not in str(error.value)


def test_a_server_without_security_is_told_when_security_is_wanted(bare: Callable[..., str], connect: Connect) -> None:
    told = refused(connect(bare("NoSecurity"), TAGS, policy="Basic256Sha256", **USER))
    assert "does not offer Basic256Sha256 SignAndEncrypt; it offers None" in told


def test_a_server_without_a_certificate_cannot_take_an_encrypted_password(
    bare: Callable[..., str], connect: Connect
) -> None:
    sha256 = "http://opcfoundation.org/UA/SecurityPolicy#Basic256Sha256"
    reader = connect(bare("NoSecurity", token=sha256), TAGS, allow_plain_password=True, **USER)
    told = refused(reader)
    assert "wants the password encrypted, but shows no certificate to encrypt it with" in told
    assert reader.guard.sent["ActivateSession"] == 0


def test_a_password_goes_unencrypted_over_no_channel_that_is_only_signed(
    bare: Callable[..., str], connect: Connect
) -> None:
    url = bare("Basic256Sha256_Sign", certificate=server_certificate(), token=NONE_URI)
    reader = connect(url, TAGS, policy="Basic256Sha256", mode="Sign", **USER)
    told = refused(reader)
    assert "wants the password unencrypted: use Security Mode SignAndEncrypt, or set Allow Password" in told
    assert reader.guard.sent["ActivateSession"] == 0
    again = connect(url, TAGS, policy="Basic256Sha256", mode="Sign", allow_plain_password=True, **USER)
    again.read()
    assert again.guard.sent["ActivateSession"] > 0


def test_a_password_is_not_encrypted_by_an_old_policy_alone(bare: Callable[..., str], connect: Connect) -> None:
    basic256 = "http://opcfoundation.org/UA/SecurityPolicy#Basic256"
    url = bare("Basic256Sha256_Sign", certificate=server_certificate(), token=basic256)
    reader = connect(url, TAGS, policy="Basic256Sha256", mode="Sign", **USER)
    told = refused(reader)
    assert "wants the password encrypted by Basic256, which is no longer safe" in told
    assert reader.guard.sent["ActivateSession"] == 0


def test_the_best_of_several_ways_to_encrypt_the_password_is_taken(old: Server, connect: Connect) -> None:
    """node-opcua names Basic256 and Basic128Rsa15 before Basic256Sha256 when a channel has no security."""
    from otmirror.opcua.endpoints import best_first

    uri = "http://opcfoundation.org/UA/SecurityPolicy#"
    offered = [
        ua.UserTokenPolicy(PolicyId=name, TokenType=ua.UserTokenType.UserName, SecurityPolicyUri=name and uri + name)
        for name in ("None", "Future", "Basic256", "", "Basic256Sha256", "Basic128Rsa15")
    ]
    config = OpcUaConfig("opc.tcp://plc", TAGS)
    order = [policy.PolicyId for policy in best_first(offered, config)]
    assert order == ["Basic256Sha256", "Basic256", "Basic128Rsa15", "None", "", "Future"]
    config = OpcUaConfig("opc.tcp://plc", TAGS, policy="Aes256_Sha256_RsaPss")
    assert [policy.PolicyId for policy in best_first(offered, config)][:2] == ["", "Basic256Sha256"]


# -- keys renewed under load


@pytest.mark.heavy
@pytest.mark.parametrize(("policy", "mode"), [("Basic256Sha256", "SignAndEncrypt"), ("Aes256_Sha256_RsaPss", "Sign")])
def test_no_read_fails_while_the_channels_keys_are_renewed(
    start: Start, tmp_path: Path, policy: str, mode: str
) -> None:
    count = 2000
    plc = start(security=[mode], policies=[policy], acceptAnyClient=True, counters=count)
    config = OpcUaConfig(plc.url, TAGS, policy=policy, mode=mode, pki=tmp_path / "pki")
    client, loop = GuardedClient(config, channel_lifetime=6.0), LoopThread("renewal")
    space = plc.namespaces.index(PLANT)
    nodes = [wire.node(value_of(ua.NodeId(f"Counter{n}", space))) for n in range(count)]

    async def poll(first: int, enough: int) -> int:
        reads = 0
        while plc_tokens() < enough or reads < 20:
            values = await client.read_values(nodes[first : first + 500])
            assert [value[0] for value in values] == [float(n) for n in range(first, first + 500)]
            reads += 1
        return reads

    def plc_tokens() -> int:
        return int(client._client.uaclient.protocol._connection.security_token.TokenId)

    async def work() -> list[int]:
        await client.connect()
        begun = plc_tokens()
        return await asyncio.gather(*(poll(first, begun + 3) for first in range(0, count, 500)))

    try:
        reads = loop.run(work(), 60)
        assert min(reads) >= 20
        assert client.alive
        assert client.sent["CreateSession"] == 1
        assert plc.do("tokens") >= 4, "the server did not renew the keys three times"
    finally:
        loop.run(client.close(), 10)
        loop.close()
