// The conformance job as a script for QuickJS. ../README.md says what each command does.

import * as std from 'qjs:std';
import * as os from 'qjs:os';

const commands = {
    args: (...rest) => rest.forEach((arg) => print(arg)),
    env: (name) => {
        const value = std.getenv(name);
        if (value === undefined) {
            std.exit(3);
        }
        print(value);
    },
    cat: () => copy(std.in, std.out),
    stderr: (text) => std.err.puts(`${text}\n`),
    copy: (from, to) => {
        const target = std.open(to, 'wb');
        copy(std.open(from, 'rb'), target);
        target.close();
    },
    exit: (code) => std.exit(Number(code)),
    random: () => print(Math.random().toString(16).slice(2) + Math.random().toString(16).slice(2)),
    clock: () => {
        const start = os.now();
        while (os.now() === start);
        print(`${Math.trunc(Date.now() / 1000)} ${os.now() - start}`);
    },
    stream: () => std.err.puts(`${copy(std.in, std.out)}\n`),
    trap: failOnPurpose,
    catch: () => {
        try {
            JSON.parse('x');
        } catch {
            print('caught not a number');
        }
    },
};

function copy(from, to) {
    const buffer = new ArrayBuffer(1 << 16);
    let count = 0;
    for (let length; (length = from.read(buffer, 0, buffer.byteLength)) > 0; count += length) {
        to.write(buffer, 0, length);
    }
    to.flush();
    return count;
}

function failOnPurpose() {
    throw new Error('on purpose');
}

const [, command, ...rest] = scriptArgs;
if (!Object.hasOwn(commands, command)) {
    std.exit(2);
}
commands[command](...rest);
