"""Certificates of every kind that has to be refused."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

import pytest

from otmirror.embedded.brokers import Tls
from otmirror.embedded.pki import Authority
from otmirror.pki.authority import Validity

PAST = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=3)


@dataclass(frozen=True)
class Pki:
    """One good certificate, and those that are not: over, of another authority, for another host."""

    authority: Authority
    good: Tls
    expired: Tls
    foreign: Tls
    elsewhere: Tls

    def pair(self, kind: str) -> tuple[str | None, str | None]:
        """Certificate and key of a client, by what is wrong with it; `none` has none."""
        if kind == "none":
            return None, None
        files: Tls = getattr(self, kind)
        return str(files.certificate), str(files.key)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    folder = tmp_path_factory.mktemp("pki")
    authority = Authority(folder / "ours")
    return Pki(
        authority,
        authority.issue("good"),
        authority.issue("expired", Validity.lasting(1, PAST)),
        Authority(folder / "other").issue("good"),
        authority.issue("elsewhere", hosts=["historian.example"]),
    )


def files_of(pki: Pki) -> Path:
    return pki.authority.certificate.parent
