// The part of WASI 0.2 that the job uses, as wit/deps describes it.

declare module "wasi:cli/environment@0.2.0" {
  export function getArguments(): string[];
  export function getEnvironment(): [string, string][];
}

declare module "wasi:cli/exit@0.2.0" {
  export function exit(status: { tag: "ok" | "err" }): never;
}

declare module "wasi:io/streams@0.2.0" {
  export interface InputStream {
    /** Throws at the end of the stream. */
    blockingRead(length: number): Uint8Array;
  }
  export interface OutputStream {
    /** Takes at most 4096 bytes. */
    blockingWriteAndFlush(contents: Uint8Array): void;
  }
}

declare module "wasi:cli/stdin@0.2.0" {
  export function getStdin(): import("wasi:io/streams@0.2.0").InputStream;
}

declare module "wasi:cli/stdout@0.2.0" {
  export function getStdout(): import("wasi:io/streams@0.2.0").OutputStream;
}

declare module "wasi:cli/stderr@0.2.0" {
  export function getStderr(): import("wasi:io/streams@0.2.0").OutputStream;
}
