"""Two historians side by side: what one has and the other has not, for a parallel run."""
