// node run.mjs MODULE.wasm: runs the checks; exits with their status, or with 5 if the ids of an answer are not the
// golden ones, which are read here once more.
import { readFile } from "node:fs/promises";

const decoder = new TextDecoder();
const golden = new URL("../../tests/golden/writers/", import.meta.url);
let exports, printed = "";
const imports = {
  console: {
    now: () => process.hrtime.bigint(),
    print: (text, length) => {
      const part = decoder.decode(new Uint8Array(exports.memory.buffer, text, length));
      printed += part;
      process.stdout.write(part);
    },
  },
};
({ exports } = (await WebAssembly.instantiate(await readFile(process.argv[2]), imports)).instance);
process.exitCode = exports.run() || await otherIds();

/// 5 if an answer that was printed is not that of the golden file, or one is missing.
async function otherIds() {
  const lines = [...printed.matchAll(/^written (\S+) r=(\S+) beams=(\d+) ids((?: \d+)*) score=/gm)];
  const names = [...new Set(lines.map(([, name]) => name))];
  let expected = [];
  for (const name of names) {
    const { answers } = JSON.parse(await readFile(new URL(`${name}.json`, golden), "utf8"));
    expected.push(...answers.map(({ reduction, beams, tokens }) => [name, reduction, beams,
      tokens.split(" ").filter(Boolean).map((word) => parseInt(word, 16))]));
  }
  const found = lines.map(([, name, reduction, beams, ids]) => [name, Number(reduction), Number(beams),
    ids.split(" ").filter(Boolean).map(Number)]);
  if (found.length > 0 && JSON.stringify(found) === JSON.stringify(expected)) return 0;
  console.error(`run.mjs: ids ${JSON.stringify(found)}, golden are ${JSON.stringify(expected)}`);
  return 5;
}
