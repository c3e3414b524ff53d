"""with_s3.py FLOW ENDPOINT REGION: prints a flow whose Iceberg processors know an S3 store that is not AWS."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def with_s3(flow: dict[str, Any], endpoint: str, region: str) -> dict[str, Any]:
    """Set S3 Endpoint and S3 Region of every WriteIceberg; keys come from the environment of that NiFi."""
    found = [p for p in flow["flowContents"]["processors"] if p["type"].rpartition(".")[2] == "WriteIceberg"]
    if not found:
        raise SystemExit("with_s3.py: the flow has no WriteIceberg")
    for processor in found:
        processor["properties"] |= {"S3 Endpoint": endpoint, "S3 Region": region}
    return flow


if __name__ == "__main__":
    json.dump(with_s3(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), *sys.argv[2:4]), sys.stdout)
