"""Service level objectives and alerts: rules for Prometheus and vmalert, and the runbooks they point to."""
