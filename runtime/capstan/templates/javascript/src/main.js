import { getArguments, getEnvironment } from "wasi:cli/environment@0.2.0";
import { exit } from "wasi:cli/exit@0.2.0";
import { lines, print, printError } from "./streams.js";

// The program, as its export `wasi:cli/run`.
export const run = {
  run() {
    try {
      main(getArguments().slice(1), new Map(getEnvironment()));
    } catch (error) {
      printError(error.message);
      exit({ tag: "err" });
    }
  },
};

function main(args, env) {
  for (const arg of args) {
    if (arg !== "--shout") throw new Error("usage: {{name}} [--shout] < NAMES");
  }
  const greeting = env.get("GREETING") ?? "Hello";
  let greeted = 0;
  for (const line of lines()) {
    const name = line.trim();
    if (name === "") continue;
    const text = `${greeting}, ${name}!`;
    print(args.length > 0 ? text.toUpperCase() : text);
    greeted++;
  }
  if (greeted === 0) throw new Error("no names on stdin");
}
