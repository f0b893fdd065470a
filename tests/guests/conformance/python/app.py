"""The conformance job in Python. ../README.md says what each command does.

The same file is a component, made by componentize-py, and a script that an interpreter runs."""

import os
import sys
import time


def main(args: list[str]) -> int:
    match args:
        case ["args", *rest]:
            for arg in rest:
                print(arg)
        case ["env", name]:
            if name not in os.environ:
                return 3
            print(os.environ[name])
        case ["cat"]:
            copy_stdin()
        case ["stderr", text]:
            print(text, file=sys.stderr)
        case ["copy", source, target]:
            with open(source, "rb") as file:
                content = file.read()
            with open(target, "wb") as file:
                file.write(content)
        case ["exit", code]:
            return int(code)
        case ["random"]:
            print(os.urandom(16).hex())
        case ["clock"]:
            now, start = int(time.time()), time.monotonic_ns()
            while time.monotonic_ns() == start:
                pass
            print(now, time.monotonic_ns() - start)
        case ["stream"]:
            print(copy_stdin(), file=sys.stderr)
        case ["trap"]:
            fail_on_purpose()
        case ["catch"]:
            try:
                int("x")
            except ValueError:
                print("caught not a number")
        case _:
            return 2
    return 0


def copy_stdin() -> int:
    count = 0
    while data := sys.stdin.buffer.read1(1 << 16):
        sys.stdout.buffer.write(data)
        count += len(data)
    return count


def fail_on_purpose() -> None:
    raise RuntimeError("on purpose")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
