"""Backup and restore of what the mirror keeps: both stores, the flows, the configuration."""
