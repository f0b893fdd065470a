// Lines of text from stdin and to stdout and stderr. QuickJS has no TextEncoder, so this knows UTF-8 itself.
import type { OutputStream } from "wasi:io/streams@0.2.0";
import { getStderr } from "wasi:cli/stderr@0.2.0";
import { getStdin } from "wasi:cli/stdin@0.2.0";
import { getStdout } from "wasi:cli/stdout@0.2.0";

const CHUNK = 64 * 1024;
/** The most bytes that one write takes. */
const MOST = 4096;
const NEWLINE = 10;

/** Yields each line of stdin, as soon as it is complete. */
export function* lines(): Generator<string> {
  const stdin = getStdin();
  let line: number[] = [];
  for (;;) {
    let chunk: Uint8Array;
    try {
      chunk = stdin.blockingRead(CHUNK);
    } catch {
      break; // the end of stdin
    }
    for (const byte of chunk) {
      if (byte === NEWLINE) {
        yield decode(line);
        line = [];
      } else {
        line.push(byte);
      }
    }
  }
  if (line.length > 0) yield decode(line);
}

/** Prints a line to stdout. */
export function print(text: string): void {
  write(getStdout(), text);
}

/** Prints a line to stderr. */
export function printError(text: string): void {
  write(getStderr(), text);
}

function write(stream: OutputStream, text: string): void {
  const bytes = encode(text + "\n");
  for (let start = 0; start < bytes.length; start += MOST) {
    stream.blockingWriteAndFlush(bytes.subarray(start, start + MOST));
  }
}

function encode(text: string): Uint8Array {
  const escaped = encodeURIComponent(text);
  const bytes: number[] = [];
  for (let i = 0; i < escaped.length; i++) {
    if (escaped[i] === "%") {
      bytes.push(parseInt(escaped.slice(i + 1, i + 3), 16));
      i += 2;
    } else {
      bytes.push(escaped.charCodeAt(i));
    }
  }
  return new Uint8Array(bytes);
}

function decode(bytes: number[]): string {
  return decodeURIComponent(bytes.map((byte) => "%" + byte.toString(16).padStart(2, "0")).join(""));
}
