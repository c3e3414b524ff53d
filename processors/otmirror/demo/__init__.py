"""The pilot on one machine: everything started, run, audited and reported."""
