"""Summarises the columns of a CSV table: reads it from stdin and prints a line for each column."""

import csv
import sys

import columns

USAGE = "usage: report [--column NAME]..."


def wanted_columns(args):
    """Returns the names in `--column NAME`, or None if there are none."""
    names = []
    rest = iter(args)
    for arg in rest:
        name = next(rest, None) if arg == "--column" else None
        if name is None:
            sys.exit(USAGE)
        names.append(name)
    return names or None


def main():
    sys.stdin.reconfigure(encoding="utf-8-sig", newline="")
    table = csv.DictReader(sys.stdin)
    names = wanted_columns(sys.argv[1:]) or table.fieldnames
    if not names:
        sys.exit("report: the table is empty")
    unknown = [name for name in names if name not in table.fieldnames]
    if unknown:
        sys.exit(f"report: no column {unknown[0]!r}; there are: {', '.join(table.fieldnames)}")
    summaries = [columns.Summary(name) for name in names]
    for row in table:
        for summary in summaries:
            summary.add(row[summary.name] or "")
    width = max(len(name) for name in names)
    for summary in summaries:
        print(f"{summary.name:<{width}}  {summary}")


main()
