"""What the two guards refused, as one machine-readable line each in the process's log.

Inside NiFi a Python process's log becomes lines of nifi-app.log, which the audit trail reads. It is written where the
request is refused, so that whoever swallows the exception hides nothing.
"""

from __future__ import annotations

import json
import logging

LOGGER = "otmirror.refused"
"""The name every line comes under; `otmirror.audit` looks for it."""

_log = logging.getLogger(LOGGER)
# Where nobody has set up logging, as in the command, nothing is written to its output.
_log.addHandler(logging.NullHandler())


def report(protocol: str, device: str, service: str, count: int) -> None:
    """Log that a request was refused before a byte of it left.

    Args:
        protocol: `opcua` or `modbus`.
        device: where it would have gone, an endpoint or host:port.
        service: the OPC UA service's name, or `function code 6 to unit 1`.
        count: how often this guard has refused that service, this time included: a line that is missing shows.
    """
    _log.error(json.dumps({"protocol": protocol, "device": device, "service": service, "count": count}))
