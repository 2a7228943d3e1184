"""
The whole of Narada in one command, in a clone of gearsvc:

    examples/narada/run
    .venv/bin/python -m examples.narada
"""

import sys

if __name__ == "__main__":
    try:
        import twisted  # noqa: F401
    except ImportError:
        sys.exit(
            "narada: this Python has no Twisted; examples/narada/run makes a virtual environment that has it, .venv,"
            " and so does ./start"
        )

    from examples.narada.command import main

    sys.exit(main())
