"""Taking the old historian's place in three phases, decided by numbers, with a way back."""
