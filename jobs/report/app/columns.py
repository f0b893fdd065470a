"""What a column of a table contains, in memory that does not grow with the table."""

import math

# Different values that are counted. A column with more has "many".
MOST_VALUES = 1000


class Summary:
    def __init__(self, name):
        self.name = name
        self.count = 0
        self.empty = 0
        self.total = 0.0
        self.least = math.inf
        self.most = -math.inf
        self.is_numeric = True
        self.values = {}

    def add(self, text):
        self.count += 1
        if not text.strip():
            self.empty += 1
            return
        if self.is_numeric:
            try:
                number = float(text)
            except ValueError:
                self.is_numeric = False
            else:
                self.total += number
                self.least = min(self.least, number)
                self.most = max(self.most, number)
        if text in self.values or len(self.values) < MOST_VALUES:
            self.values[text] = self.values.get(text, 0) + 1

    def __str__(self):
        filled = self.count - self.empty
        if not filled:
            return f"{self.count} rows, all empty"
        text = f"{self.count} rows"
        if self.empty:
            text += f", {self.empty} empty"
        if self.is_numeric:
            return f"{text}, {self.least:g} to {self.most:g}, mean {self.total / filled:g}"
        common = max(self.values, key=self.values.get)
        count = "many" if len(self.values) == MOST_VALUES else str(len(self.values))
        return f"{text}, {count} different, most often {common!r} ({self.values[common]})"
