"""Flows: their canonical file form, and NiFi's REST API to import, run, watch and export them."""
