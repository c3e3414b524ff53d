"""Key figures for those who pay: each says where it comes from and over which window, or that it was not measured."""
