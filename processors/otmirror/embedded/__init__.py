"""A NiFi of one's own: installed, started and stopped by the `otmirror` command, without a container."""
