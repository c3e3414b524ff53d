"""`otmirror drill`: faults on purpose, in a pilot of its own: who notices, how soon, and who is right."""
