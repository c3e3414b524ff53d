"""`python -m otmirror` is the command `otmirror`."""

from otmirror.cli.app import main

main()
