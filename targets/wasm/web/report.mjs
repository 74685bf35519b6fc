// node report.mjs PAGE BROWSER: opens a page of `coda report` in a Chromium without a window, and fails if it has
// not drawn itself to its end. Other browsers cannot print what they drew; there it says so.
import { execFileSync } from "node:child_process";

const [page, browser] = process.argv.slice(2);
if (browser.includes("firefox")) {
  console.log("report: not checked, Firefox does not print a page's elements");
  process.exit(0);
}
const flags = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000", "--dump-dom"];
const drawn = execFileSync(browser, [...flags, `file://${page}`], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
const found = { ready: drawn.includes('data-ready="yes"'), curves: drawn.split('class="curve"').length - 1, pictures: drawn.split("<canvas").length - 1 };
console.log("report:", JSON.stringify(found));
process.exit(found.ready && found.curves === 1 && found.pictures > 0 ? 0 : 1);
