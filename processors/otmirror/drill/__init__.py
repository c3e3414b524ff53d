"""`otmirror drill`: faults on purpose, on a pilot of its own, with a watch on who notices, how soon, and who is right."""
