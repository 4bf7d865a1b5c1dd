"""The command line: parse options, call, print.

Not here: the work itself. Begin with ``cli.py``, which lists the subcommands.
"""
