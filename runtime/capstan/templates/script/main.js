// Greets each name on stdin. The runtime is QuickJS: its modules `std` and `os` are globals.

function main(args) {
  const shout = args.length === 1 && args[0] === "--shout";
  if (args.length > 0 && !shout) {
    std.err.puts("usage: {{name}} [--shout] < NAMES\n");
    return 1;
  }
  const greeting = std.getenv("GREETING") ?? "Hello";
  let greeted = 0;
  for (let line = std.in.getline(); line !== null; line = std.in.getline()) {
    const name = line.trim();
    if (name) {
      const text = `${greeting}, ${name}!`;
      std.out.puts((shout ? text.toUpperCase() : text) + "\n");
      greeted += 1;
    }
  }
  if (greeted === 0) {
    std.err.puts("{{name}}: no names on stdin\n");
    return 1;
  }
  return 0;
}

std.exit(main(scriptArgs.slice(1)));
