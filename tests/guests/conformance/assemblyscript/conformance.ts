// The conformance job in AssemblyScript. ../README.md says what each command does.

import {
  errno,
  fd,
  fd_close,
  fd_prestat_dir_name,
  fd_prestat_get,
  fd_read,
  fd_write,
  fdflags,
  oflags,
  path_open,
  prestat,
  rights,
} from "@assemblyscript/wasi-shim/assembly/bindings/wasi_snapshot_preview1";

const BUFFER: i32 = 64 << 10;
const buffer = new ArrayBuffer(BUFFER);
// A vector of one buffer, and a number that the host returns.
const cell = new ArrayBuffer(16);

function print(text: string): void {
  process.stdout.write(text + "\n");
}

// Writes the first bytes of the buffer.
function writeAll(to: fd, length: i32): void {
  const vector = changetype<usize>(cell);
  for (let offset = 0; offset < length; ) {
    store<usize>(vector, changetype<usize>(buffer) + offset);
    store<usize>(vector, length - offset, sizeof<usize>());
    if (fd_write(to, vector, 1, vector + 8) != errno.SUCCESS) process.exit(1);
    offset += load<i32>(vector, 8);
  }
}

// Reads into the buffer. Returns 0 at the end.
function read(from: fd): i32 {
  const vector = changetype<usize>(cell);
  store<usize>(vector, changetype<usize>(buffer));
  store<usize>(vector, BUFFER, sizeof<usize>());
  if (fd_read(from, vector, 1, vector + 8) != errno.SUCCESS) process.exit(1);
  return load<i32>(vector, 8);
}

function copy(from: fd, to: fd): i64 {
  let count: i64 = 0;
  for (let length = read(from); length > 0; length = read(from)) {
    writeAll(to, length);
    count += length;
  }
  return count;
}

// Opens a file below a mount. The shim has no files, so this calls WASI.
function open(path: string, flags: oflags, allowed: rights): fd {
  const out = changetype<usize>(cell);
  for (let mount: fd = 3; fd_prestat_get(mount, changetype<prestat>(cell)) == errno.SUCCESS; mount++) {
    const length = load<usize>(out, 4);
    fd_prestat_dir_name(mount, changetype<usize>(buffer), length);
    const name = String.UTF8.decodeUnsafe(changetype<usize>(buffer), length);
    if (!path.startsWith(name + "/")) continue;
    const rest = String.UTF8.encode(path.slice(name.length + 1));
    if (path_open(mount, 0, changetype<usize>(rest), rest.byteLength, flags, allowed, 0, <fdflags>0, out) != errno.SUCCESS) break;
    return load<fd>(out);
  }
  process.stderr.write("cannot open " + path + "\n");
  process.exit(1);
  return 0;
}

function copyFile(from: string, to: string): void {
  const input = open(from, <oflags>0, rights.FD_READ);
  const output = open(to, oflags.CREAT | oflags.TRUNC, rights.FD_WRITE);
  copy(input, output);
  fd_close(input);
  fd_close(output);
}

function printRandom(): void {
  const random = new Uint8Array(16);
  crypto.getRandomValues(random);
  let text = "";
  for (let i = 0; i < 16; i++) text += random[i].toString(16).padStart(2, "0");
  print(text);
}

function printClock(): void {
  const start = process.hrtime();
  let now = start;
  while (now == start) now = process.hrtime();
  print((Date.now() / 1000).toString() + " " + (now - start).toString());
}

function failOnPurpose(): void {
  unreachable();
}

// The optimiser inlines a function that has one caller, unless it is called through a table. A backtrace has no inlined functions.
const failures: (() => void)[] = [failOnPurpose];

function main(args: string[]): i32 {
  if (args.length < 2) return 2;
  const command = args[1];
  if (command == "args") {
    for (let i = 2; i < args.length; i++) print(args[i]);
  } else if (command == "env") {
    if (!process.env.has(args[2])) return 3;
    print(process.env.get(args[2]));
  } else if (command == "cat") {
    copy(0, 1);
  } else if (command == "stderr") {
    process.stderr.write(args[2] + "\n");
  } else if (command == "copy") {
    copyFile(args[2], args[3]);
  } else if (command == "exit") {
    return <i32>parseInt(args[2]);
  } else if (command == "random") {
    printRandom();
  } else if (command == "clock") {
    printClock();
  } else if (command == "stream") {
    process.stderr.write(copy(0, 1).toString() + "\n");
  } else if (command == "trap") {
    failures[args.length - 2]();
  } else if (command == "catch") {
    throw new Error("not a number");
  } else {
    return 2;
  }
  return 0;
}

process.exit(main(process.argv));
