/// <reference path="wasi.d.ts" />
// The conformance job in TypeScript. ../README.md says what each command does.

import { getArguments, getEnvironment } from 'wasi:cli/environment@0.2.12';
import { exit } from 'wasi:cli/exit@0.2.12';
import { getStderr } from 'wasi:cli/stderr@0.2.12';
import { getStdin } from 'wasi:cli/stdin@0.2.12';
import { getStdout } from 'wasi:cli/stdout@0.2.12';
import { now as monotonicNow } from 'wasi:clocks/monotonic-clock@0.2.12';
import { now as wallNow } from 'wasi:clocks/wall-clock@0.2.12';
import { getDirectories } from 'wasi:filesystem/preopens@0.2.12';
import { getRandomBytes } from 'wasi:random/random@0.2.12';

export const run = {
    run(): void {
        const [, command, ...rest] = getArguments();
        if (!Object.hasOwn(commands, command)) {
            throw new Error(`no command ${command}`);
        }
        commands[command](...rest);
    },
};

const commands: Record<string, (...args: string[]) => void> = {
    args: (...rest: string[]) => rest.forEach(print),
    env: (name) => print(getEnvironment().find(([key]) => key === name)![1]),
    cat: () => copyStdin(),
    stderr: (text) => write(getStderr(), encode(`${text}\n`)),
    copy: copyFile,
    exit: (code) => exit(code === '0' ? { tag: 'ok' } : { tag: 'err' }),
    random: () => print(Array.from(getRandomBytes(16), (byte) => byte.toString(16).padStart(2, '0')).join('')),
    clock: printClock,
    stream: () => write(getStderr(), encode(`${copyStdin()}\n`)),
    trap: failOnPurpose,
    catch: printCaught,
};

// The runtime has no TextEncoder.
function encode(text: string): Uint8Array {
    const bytes = encodeURIComponent(text).replace(/%(..)/g, (_, hex) => String.fromCharCode(parseInt(hex, 16)));
    return Uint8Array.from(bytes, (character) => character.charCodeAt(0));
}

function print(text: string): void {
    write(getStdout(), encode(`${text}\n`));
}

// One such call takes at most 4,096 bytes. The calls that take more need a handle for waiting, and a run has few handles: they are dropped only
// when the garbage collector finds them.
function write(stream: OutputStream, bytes: Uint8Array): void {
    for (let offset = 0; offset < bytes.length; offset += 4096) {
        stream.blockingWriteAndFlush(bytes.subarray(offset, offset + 4096));
    }
}

// Returns the next bytes of a stream, or null at its end.
function read(stream: InputStream): Uint8Array | null {
    try {
        return stream.blockingRead(65536);
    } catch {
        return null;
    }
}

function copyStdin(): number {
    const [input, output] = [getStdin(), getStdout()];
    let count = 0;
    for (let data: Uint8Array | null; (data = read(input)) !== null; ) {
        write(output, data);
        count += data.length;
    }
    return count;
}

// Returns the directory of a mount and the path below it.
function resolve(path: string): [Descriptor, string] {
    for (const [directory, name] of getDirectories()) {
        if (path.startsWith(`${name}/`)) {
            return [directory, path.slice(name.length + 1)];
        }
    }
    throw new Error(`no mount for ${path}`);
}

function copyFile(from: string, to: string): void {
    const [source, sourcePath] = resolve(from);
    const [target, targetPath] = resolve(to);
    const input = source.openAt({}, sourcePath, {}, { read: true });
    const output = target.openAt({}, targetPath, { create: true, truncate: true }, { write: true });
    let offset = 0;
    for (;;) {
        const [data, atEnd] = input.read(65536, offset);
        offset += output.write(data, offset);
        if (atEnd) {
            return;
        }
    }
}

function printClock(): void {
    const start = monotonicNow();
    while (monotonicNow() === start);
    print(`${wallNow().seconds} ${monotonicNow() - start}`);
}

function failOnPurpose(): never {
    throw new Error('on purpose');
}

function printCaught(): void {
    try {
        JSON.parse('x');
    } catch {
        print('caught not a number');
    }
}
