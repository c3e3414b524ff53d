"""Dashboards: a short source, Grafana's JSON made of it, its queries run, and a picture without Grafana."""
