"""The Modbus source: addresses, request plan, guarded client, decoding, and the reader on top of them."""
