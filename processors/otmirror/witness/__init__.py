"""Witnesses: what crossed the wire, seen from outside the clients that sent it."""
