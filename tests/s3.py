"""An S3 storage over HTTPS that knows its keys: moto, with its checks of access keys and signatures on."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore.config
import requests

from otmirror.embedded.brokers import Tls
from otmirror.embedded.processes import Server, free_port

REGION, BUCKET = "eu-central-1", "lake"
# How many requests are let through before keys are asked for: those of `_found` below.
_FOUNDING = 4
_ALL = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:*","iam:*"],"Resource":"*"}]}'


class S3:
    """One bucket, one user; `access` and `secret` are the keys that count now."""

    def __init__(self, folder: Path, tls: Tls):
        self._server, self._tls, self.port = Server("s3", folder), tls, free_port()
        self.access = self.secret = ""

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def start(self) -> None:
        argv = [
            sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port), "-s",
            "-c", str(self._tls.certificate), "-k", str(self._tls.key),
        ]  # fmt: skip
        self._server.start(argv, self._answers, 60.0, env={"INITIAL_NO_AUTH_ACTION_COUNT": str(_FOUNDING)})
        iam = self.client("iam", "any", "any")
        iam.create_user(UserName="otmirror")
        iam.put_user_policy(UserName="otmirror", PolicyName="all", PolicyDocument=_ALL)
        self._take(iam.create_access_key(UserName="otmirror"))
        self.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})

    def rotate(self) -> None:
        """Make a new key; the old one is refused from now on."""
        old = self.access
        self._take(self.client("iam").create_access_key(UserName="otmirror"))
        self.client("iam").delete_access_key(UserName="otmirror", AccessKeyId=old)

    def objects(self, suffix: str) -> Iterator[bytes]:
        """The content of every object whose name ends so."""
        s3 = self.client("s3")
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
            for entry in page.get("Contents", ()):
                # What a writer removed since the listing is not there any more.
                with contextlib.suppress(s3.exceptions.NoSuchKey):
                    if entry["Key"].endswith(suffix):
                        yield s3.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read()

    def client(self, service: str, access: str = "", secret: str = "") -> Any:
        return boto3.client(
            service, region_name=REGION, endpoint_url=self.url, verify=str(self._tls.authority),
            aws_access_key_id=access or self.access, aws_secret_access_key=secret or self.secret,
            config=botocore.config.Config(proxies={}, retries={"max_attempts": 1}, s3={"addressing_style": "path"}),
        )  # fmt: skip

    def stop(self) -> None:
        self._server.stop()

    def _take(self, told: dict[str, Any]) -> None:
        self.access, self.secret = (told["AccessKey"][key] for key in ("AccessKeyId", "SecretAccessKey"))

    def _answers(self) -> bool:
        try:
            # The dashboard's own path, which is not counted.
            return requests.get(f"{self.url}/moto-api/data.json", timeout=2, verify=str(self._tls.authority)).ok
        except requests.RequestException:
            return False
