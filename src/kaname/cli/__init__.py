"""The command line: `kaname …`. `main.py` lists the commands; each has its module, imported when it runs."""
