"""The OT mirror's library: samples from OPC UA and Modbus, read-only, into VictoriaMetrics and Iceberg."""

__version__ = "2026.11.0"
