// node run.mjs MODULE.wasm [--json]: runs the benchmark; exits with its status.
import { readFile } from "node:fs/promises";

const decoder = new TextDecoder();
let exports;
const imports = {
  console: {
    now: () => process.hrtime.bigint(),
    print: (text, length) => process.stdout.write(decoder.decode(new Uint8Array(exports.memory.buffer, text, length))),
  },
};
({ exports } = (await WebAssembly.instantiate(await readFile(process.argv[2]), imports)).instance);
process.exitCode = exports.bench(process.argv.includes("--json") ? 1 : 0);
