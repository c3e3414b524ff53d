"""The sink for the lakehouse: samples into Iceberg tables."""
