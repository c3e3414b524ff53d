"""The proof that this mirror only reads: each claim, how it was checked, and what was seen."""
