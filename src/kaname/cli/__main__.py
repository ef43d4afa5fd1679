"""`python -m kaname.cli` is `kaname`."""

from kaname.cli.main import main

main()
