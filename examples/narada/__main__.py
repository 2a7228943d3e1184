"""
The whole of Narada in one command, in a clone of gearsvc:

    examples/narada/run
    .venv/bin/python -m examples.narada
"""

import sys
from importlib.util import find_spec

if __name__ == "__main__":
    # (The checkout has a directory of the name twisted, for plugins.)
    if find_spec("twisted.internet") is None:
        sys.exit(
            "narada: this Python has no Twisted; examples/narada/run makes a virtual environment that has it, .venv,"
            " and so does ./start"
        )

    from examples.narada.command import main

    sys.exit(main())
