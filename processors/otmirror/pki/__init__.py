"""A development PKI: one authority, certificates for services and users, and when they expire."""
