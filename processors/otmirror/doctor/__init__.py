"""`otmirror doctor`: the first five minutes of an outage, looked through in some seconds without changing anything."""
