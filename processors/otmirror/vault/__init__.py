"""Secrets from HashiCorp Vault or OpenBao into a running NiFi."""
