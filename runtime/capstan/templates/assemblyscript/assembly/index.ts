const NEWLINE: u8 = 10;
const CHUNK: i32 = 64 * 1024;

let shout = false;
let greeted = 0;

for (let i = 1; i < process.argv.length; i++) {
  if (process.argv[i] != "--shout") fail("usage: {{name}} [--shout] < NAMES");
  shout = true;
}
const greeting = process.env.has("GREETING") ? process.env.get("GREETING") : "Hello";

// What is left of the last line after each newline. A character may lie across two chunks, so lines are decoded as a whole.
let line: u8[] = [];
const chunk = new Uint8Array(CHUNK);
for (let count = process.stdin.read(chunk.buffer); count > 0; count = process.stdin.read(chunk.buffer)) {
  for (let i = 0; i < count; i++) {
    if (chunk[i] == NEWLINE) {
      greet(line);
      line = [];
    } else {
      line.push(chunk[i]);
    }
  }
}
greet(line);
if (greeted == 0) fail("no names on stdin");

function greet(bytes: u8[]): void {
  const name = String.UTF8.decodeUnsafe(bytes.dataStart, bytes.length).trim();
  if (name.length == 0) return;
  const text = greeting + ", " + name + "!\n";
  process.stdout.write(shout ? text.toUpperCase() : text);
  greeted++;
}

function fail(message: string): void {
  process.stderr.write(message + "\n");
  process.exit(1);
}
