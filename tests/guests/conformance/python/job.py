"""Exports the job as `wasi:cli/run`."""

import sys

from wit_world import exports

import app


class Run(exports.Run):
    def run(self) -> None:
        sys.exit(app.main(sys.argv[1:]))
