"""`python -m ops.cli`: the same as `spaceos`."""

from ops.cli import main

main()
