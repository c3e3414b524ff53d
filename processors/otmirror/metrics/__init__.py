"""What the bundle measures of itself: the definitions, the values, and the files they are kept in."""
