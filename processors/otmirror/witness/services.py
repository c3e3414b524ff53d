"""The names of OPC UA messages by the numeric ids of their binary encoding (OPC 10000-6, Annex A, namespace 0)."""

from __future__ import annotations

REQUESTS = {
    422: "FindServers", 428: "GetEndpoints", 437: "RegisterServer", 446: "OpenSecureChannel",
    452: "CloseSecureChannel", 461: "CreateSession", 467: "ActivateSession", 473: "CloseSession", 479: "Cancel",
    488: "AddNodes", 494: "AddReferences", 500: "DeleteNodes", 506: "DeleteReferences", 527: "Browse",
    533: "BrowseNext", 554: "TranslateBrowsePathsToNodeIds", 560: "RegisterNodes", 566: "UnregisterNodes",
    615: "QueryFirst", 621: "QueryNext", 631: "Read", 664: "HistoryRead", 673: "Write", 700: "HistoryUpdate",
    712: "Call", 751: "CreateMonitoredItems", 763: "ModifyMonitoredItems", 769: "SetMonitoringMode",
    775: "SetTriggering", 781: "DeleteMonitoredItems", 787: "CreateSubscription", 793: "ModifySubscription",
    799: "SetPublishingMode", 826: "Publish", 832: "Republish", 841: "TransferSubscriptions",
    847: "DeleteSubscriptions", 12208: "FindServersOnNetwork", 12211: "RegisterServer2", 15903: "SessionlessInvoke",
}  # fmt: skip
"""Requests of all services, and the two that open and close a secure channel."""

RESPONSES = {
    397: "ServiceFault", 425: "FindServers", 431: "GetEndpoints", 440: "RegisterServer", 449: "OpenSecureChannel",
    455: "CloseSecureChannel", 464: "CreateSession", 470: "ActivateSession", 476: "CloseSession", 482: "Cancel",
    491: "AddNodes", 497: "AddReferences", 503: "DeleteNodes", 509: "DeleteReferences", 530: "Browse",
    536: "BrowseNext", 557: "TranslateBrowsePathsToNodeIds", 563: "RegisterNodes", 569: "UnregisterNodes",
    618: "QueryFirst", 624: "QueryNext", 634: "Read", 667: "HistoryRead", 676: "Write", 703: "HistoryUpdate",
    715: "Call", 754: "CreateMonitoredItems", 766: "ModifyMonitoredItems", 772: "SetMonitoringMode",
    778: "SetTriggering", 784: "DeleteMonitoredItems", 790: "CreateSubscription", 796: "ModifySubscription",
    802: "SetPublishingMode", 829: "Publish", 835: "Republish", 844: "TransferSubscriptions",
    850: "DeleteSubscriptions", 12209: "FindServersOnNetwork", 12212: "RegisterServer2", 21001: "SessionlessInvoke",
}  # fmt: skip
"""Their responses, and the fault that stands in for any of them."""
