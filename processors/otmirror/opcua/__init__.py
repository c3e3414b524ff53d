"""OPC UA: a guarded client, and the reader that polls tags through it."""
