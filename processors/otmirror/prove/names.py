"""What reads and what does not, written down from the specifications and apart from the guards' own lists.

A mistake in a guard's allow-list must not be repeated by the proof: nothing here is taken from `opcua.allowlist` or
`modbus.guard`.
"""

from __future__ import annotations

import re

from otmirror.witness.services import REQUESTS

READ_SERVICES = frozenset({
    "GetEndpoints", "FindServers", "CreateSession", "ActivateSession", "CloseSession", "Read", "HistoryRead", "Browse",
    "BrowseNext", "TranslateBrowsePathsToNodeIds", "CreateSubscription", "DeleteSubscriptions",
    "TransferSubscriptions", "CreateMonitoredItems", "Publish", "Republish",
})  # fmt: skip
"""OPC UA services that change nothing but the session they belong to (OPC 10000-4, clause 5)."""

CHANNEL = frozenset({"OpenSecureChannel", "CloseSecureChannel"})
"""What opens and closes a secure channel below the services (OPC 10000-6, 6.7.4)."""

OTHER_SERVICES = frozenset(REQUESTS.values()) - READ_SERVICES - CHANNEL
"""Every other service: they write, call, add, delete, register, or change what others see."""

READ_FUNCTIONS = frozenset({1, 2, 3, 4})
"""Modbus function codes that read and do nothing else (application protocol 1.1b3, 6.1 to 6.4)."""

LAST_FUNCTION = 127
"""Function codes are 1 to 127; from 128 on a byte says exception (application protocol 1.1b3, 4.1)."""


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


_COMMON = frozenset({"write", "call", "cancel"})
"""Services whose name in a program is also that of harmless things: they count by what they are called on."""

WRITES = re.compile(
    "|".join([
        # OPC UA: a service's request, its parameters, its binary encoding, and its method in asyncua.
        rf"({'|'.join(sorted(OTHER_SERVICES))})(Request|Parameters)(_Encoding_DefaultBinary)?",
        "|".join(sorted(_snake(name) for name in OTHER_SERVICES if _snake(name) not in _COMMON)),
        r"(Write|HistoryUpdate|Call\w*)(Value|Details|MethodRequest)", r"AddNodesItem|AddReferencesItem|Delete\w+Item",
        r"(Update|Delete)(Data|StructureData|Event|RawModified|AtTime)Details",
        # asyncua's shorthands.
        r"write_(values?|attributes?|params|array_dimensions|value_rank|data_type_definition)",
        r"set_(value|writable|read_only|attr_bit|attribute|modelling_rule|event_notifier|data_value|data_type)",
        r"call_method\w*", r"add_(object|variable|property|method|folder|data_type|object_type|variable_type"
        r"|reference|reference_type|nodes?)", r"delete_(nodes|references?)", r"import_(xml|nodes)",
        r"modify_monitored_items?",
        # Modbus: pymodbus' methods and messages for function codes 5 to 127.
        r"write_(coils?|registers?|file_record)", r"mask_write_register", r"readwrite_registers", r"diag_\w+",
        r"Write(Single|Multiple)\w+", r"WriteFileRecord\w*", r"MaskWrite\w+", r"ReadWriteMultiple\w+",
        r"DiagnosticBase|ForceListenOnly\w+|RestartCommunications\w+|Clear(Counters|OverrunCount)\w+",
    ])
)  # fmt: skip
"""Names of programs that can do more than read, matched whole."""

RECEIVERS = frozenset({"client", "_client", "uaclient", "session", "_session", "node", "inner", "protocol"})
"""What `write`, `call` and `cancel` are methods of when they are services."""
