"""The command line: parse, call, print.

Not here: the work itself. Begin with ``cli.py``, the table of subcommands.
"""
