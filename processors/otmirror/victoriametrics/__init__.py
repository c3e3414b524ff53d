"""The sink for the time-series database: samples into VictoriaMetrics."""
