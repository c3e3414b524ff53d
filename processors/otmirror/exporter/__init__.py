"""The metrics of all processors at one address, for Prometheus or VictoriaMetrics to scrape."""
