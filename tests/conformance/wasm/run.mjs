// node run.mjs MODULE.wasm TABLE,TABLE,...: runs the suite, expects exactly these tables.
import { readFile } from "node:fs/promises";

const [module, expected] = process.argv.slice(2);
const { instance } = await WebAssembly.instantiate(await readFile(module));
const { memory, tables, name, name_length, run } = instance.exports;
const ran = [];
for (let index = 0; index < tables(); index++) {
  const bytes = new Uint8Array(memory.buffer, name(index), name_length(index));
  const table = new TextDecoder().decode(bytes);
  const cases = run(index);
  if (cases < 0) {
    console.error(`wasm32 ${table}: other bits than the scalar table`);
    process.exit(3);
  }
  console.log(`wasm32 ${table}: ${cases} kernel cases and the golden answers have the scalar bits`);
  ran.push(table);
}
if (ran.join(",") !== expected) {
  console.error(`ran ${ran.join(",")}, but ${expected} should have run`);
  process.exit(3);
}
