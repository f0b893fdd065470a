import os
import sys

from componentize_py_types import Err
from wit_world import exports


class Run(exports.Run):
    def run(self) -> None:
        """Called once for each run of the job."""
        try:
            main(sys.argv[1:])
        except ValueError as error:
            print(error, file=sys.stderr)
            raise Err(None)


def main(args: list[str]) -> None:
    for arg in args:
        if arg != "--shout":
            raise ValueError("usage: {{name}} [--shout] < NAMES")
    greeting = os.environ.get("GREETING", "Hello")
    greeted = 0
    for line in sys.stdin:
        name = line.strip()
        if not name:
            continue
        text = f"{greeting}, {name}!"
        print(text.upper() if args else text)
        greeted += 1
    if greeted == 0:
        raise ValueError("no names on stdin")
