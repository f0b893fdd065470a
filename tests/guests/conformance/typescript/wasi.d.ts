// The types of the interfaces of WASI 0.2 that the job uses, as componentize-qjs passes their values.

declare module 'wasi:cli/environment@0.2.12' {
    export function getArguments(): string[];
    export function getEnvironment(): [string, string][];
}
declare module 'wasi:cli/exit@0.2.12' {
    export function exit(status: { tag: 'ok' | 'err' }): never;
}
declare module 'wasi:cli/stdin@0.2.12' {
    export function getStdin(): InputStream;
}
declare module 'wasi:cli/stdout@0.2.12' {
    export function getStdout(): OutputStream;
}
declare module 'wasi:cli/stderr@0.2.12' {
    export function getStderr(): OutputStream;
}
declare module 'wasi:clocks/monotonic-clock@0.2.12' {
    export function now(): number;
}
declare module 'wasi:clocks/wall-clock@0.2.12' {
    export function now(): { seconds: number; nanoseconds: number };
}
declare module 'wasi:filesystem/preopens@0.2.12' {
    export function getDirectories(): [Descriptor, string][];
}
declare module 'wasi:random/random@0.2.12' {
    export function getRandomBytes(length: number): Uint8Array;
}

interface InputStream {
    blockingRead(length: number): Uint8Array;
}
interface OutputStream {
    blockingWriteAndFlush(bytes: Uint8Array): void;
}
interface Descriptor {
    openAt(follow: object, path: string, how: { create?: boolean; truncate?: boolean }, flags: object): Descriptor;
    read(length: number, offset: number): [Uint8Array, boolean];
    write(bytes: Uint8Array, offset: number): number;
}
