"""The operator's command, `otmirror`: one module a sub-command, put together in `app`."""
