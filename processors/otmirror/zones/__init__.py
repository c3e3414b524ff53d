"""IEC 62443 zones and conduits: one table, and everything that is made from it."""
