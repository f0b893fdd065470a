"""Greets each name on stdin."""

import os
import sys


def main() -> int:
    shout = sys.argv[1:] == ["--shout"]
    if sys.argv[1:] and not shout:
        print("usage: {{name}} [--shout] < NAMES", file=sys.stderr)
        return 1
    greeting = os.environ.get("GREETING", "Hello")
    greeted = 0
    for line in sys.stdin:
        name = line.strip()
        if name:
            text = f"{greeting}, {name}!"
            print(text.upper() if shout else text)
            greeted += 1
    if greeted == 0:
        print("{{name}}: no names on stdin", file=sys.stderr)
        return 1
    return 0


sys.exit(main())
