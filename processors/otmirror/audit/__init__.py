"""The audit trail: who did what, gathered from every part that knows, as JSON lines of one schema."""
