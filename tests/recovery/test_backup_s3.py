"""Tables whose files are on S3, over TLS with keys: copied from there, and put back where they were."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pyiceberg.catalog import load_catalog

from otmirror.clock import SystemClock
from otmirror.embedded.pki import Authority
from otmirror.iceberg.config import Config
from otmirror.iceberg.sink import IcebergSink
from otmirror.recovery.create import Sources, create
from otmirror.recovery.restore import Targets, restore
from otmirror.recovery.verify import verify
from s3 import BUCKET, REGION, S3

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(120)]


def test_a_bucket_that_was_emptied_is_filled_again(tmp_path: Path) -> None:
    tls = Authority(tmp_path / "pki").issue("s3")
    storage = S3(tmp_path / "s3", tls)
    storage.start()
    try:
        settings = {
            "catalog_type": "sql", "warehouse": f"s3://{BUCKET}/wh", "s3_endpoint": storage.url, "s3_region": REGION,
            "s3_access_key": storage.access, "s3_secret_key": storage.secret, "ca_file": str(tls.authority),
        }  # fmt: skip
        config = Config(uri=f"sqlite:///{tmp_path}/one.db", **settings)
        for number in range(3):
            line = {"tag": "t", "ts": number, "value": number / 2, "type": "double", "quality": "good", "source": "s"}
            assert (
                IcebergSink(config, SystemClock()).write(json.dumps(line).encode() + b"\n", {}).relationship
                == "success"
            )
        folder, told = create(Sources(lakehouse=config, data=True), tmp_path / "backups")
        assert verify(folder) == []
        assert told.lakehouse is not None
        assert (told.lakehouse.tables[0].rows, told.lakehouse.tables[0].files) == (3, 3)
        held = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
        assert storage.secret.encode() not in held
        kept = sorted(storage.objects(".parquet"))
        client = storage.client("s3")
        for entry in client.list_objects_v2(Bucket=BUCKET)["Contents"]:
            client.delete_object(Bucket=BUCKET, Key=entry["Key"])
        fresh = Config(uri=f"sqlite:///{tmp_path}/two.db", **settings)
        assert restore(folder, Targets(lakehouse=fresh)).differences == []
        assert sorted(storage.objects(".parquet")) == kept
        catalog = load_catalog("otmirror", type="sql", uri=f"sqlite:///{tmp_path}/two.db")
        assert [name for space in catalog.list_namespaces() for name in catalog.list_tables(space)] == [
            ("ot", "samples")
        ]
    finally:
        storage.stop()
