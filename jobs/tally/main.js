// Counts the values of one key in JSON lines: reads them from stdin, and prints the most frequent values first.

function fail(message) {
    std.err.puts(`tally: ${message}\n`);
    std.exit(1);
}

function parseArgs(args) {
    const [key, ...rest] = args;
    const top = rest.length === 0 ? Infinity : Number(rest[1]);
    if (key === undefined || (rest.length !== 0 && (rest.length !== 2 || rest[0] !== "--top" || !(top > 0)))) {
        fail("usage: tally KEY [--top N]");
    }
    return { key, top };
}

function count(key) {
    const counts = new Map();
    for (let line, number = 1; (line = std.in.getline()) !== null; number++) {
        if (line.trim() === "") {
            continue;
        }
        let value;
        try {
            value = JSON.parse(line)[key];
        } catch (error) {
            fail(`line ${number}: ${error.message}`);
        }
        const text = value === undefined ? "(none)" : typeof value === "string" ? value : JSON.stringify(value);
        counts.set(text, (counts.get(text) ?? 0) + 1);
    }
    return counts;
}

const { key, top } = parseArgs(scriptArgs.slice(1));
// Equal counts stay in the order in which their values came.
const sorted = [...count(key)].sort(([, a], [, b]) => b - a).slice(0, top);
for (const [text, times] of sorted) {
    console.log(`${times}\t${text}`);
}
