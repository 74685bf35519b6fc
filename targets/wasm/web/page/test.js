// Runs in the page under test: every example at every reduction, and the page's own controls, the way a
// user works them. browser.mjs judges what is sent to it.
const SIDE = 28, REDUCTIONS = [1, 4, 8];

export async function run({ classify, write, examples, draw }) {
  let report;
  try {
    report = { answers: answers(classify, examples), written: await written(write), ...await controls(draw) };
  } catch (error) {
    report = { error: String(error) };
  }
  await fetch("result", { method: "POST", body: JSON.stringify({ browser: navigator.userAgent, ...report }) });
}

/// The answer of the files' text at r = 2, as pieces and by the page's own form.
async function written(write) {
  const pieces = [];
  const whole = await write("the old cat sat on a mat.", 2, (piece) => { pieces.push(piece); });
  const slider = document.getElementById("reduction");
  slider.value = 2;
  document.getElementById("ask").requestSubmit();
  const shown = () => document.getElementById("answer").value;
  for (let wait = 0; wait < 200 && shown() !== whole; wait++) await new Promise((done) => setTimeout(done, 100));
  slider.value = 4;
  return { pieces, whole, shown: shown() };
}

function answers(classify, examples) {
  const bits = [], milliseconds = {};
  for (const reduction of REDUCTIONS) {
    const times = [];
    for (let at = 0; at < examples.length; at += SIDE * SIDE) {
      const answer = classify(examples.subarray(at, at + SIDE * SIDE), reduction);
      bits.push(...new Uint32Array(answer.logits.buffer));
      times.push(answer.milliseconds);
    }
    milliseconds[reduction] = times.sort((a, b) => a - b)[times.length >> 1];
  }
  return { bits, milliseconds };
}

const best = () => document.querySelector("#scores tr.best td").textContent;
const captions = () => Array.from(document.querySelectorAll("#layers figcaption"), (caption) => caption.textContent);

async function controls(draw) {
  const seen = {};
  // Every example, clicked.
  seen.examples = Array.from(document.querySelectorAll("#examples button"), (example) => {
    example.click();
    return best();
  });
  seen.rows = document.querySelectorAll("#scores tr").length;
  seen.captions = captions();
  // The slider.
  const slider = document.getElementById("reduction");
  slider.value = 1;
  slider.dispatchEvent(new Event("input"));
  seen.dense = captions();
  slider.value = 4;
  slider.dispatchEvent(new Event("input"));
  // A pair of trousers, drawn.
  document.getElementById("clear").click();
  const box = draw.canvas.getBoundingClientRect();
  const point = (kind, x, y) => draw.canvas.dispatchEvent(new PointerEvent(kind, {
    bubbles: true, clientX: box.left + x * box.width / SIDE, clientY: box.top + y * box.height / SIDE,
  }));
  for (const x of [10.5, 12, 16, 17.5]) {
    point("pointerdown", x, 4);
    for (let y = 5; y <= 25; y++) point("pointermove", x, y);
    point("pointerup", x, 25);
  }
  point("pointerdown", 11, 4);
  point("pointermove", 17, 4);
  point("pointerup", 17, 4);
  seen.drawn = best();
  // The same drawing as a file, chosen.
  const blob = await new Promise((done) => draw.canvas.toBlob(done));
  const files = new DataTransfer();
  files.items.add(new File([blob], "drawing.png", { type: "image/png" }));
  document.getElementById("clear").click();
  const chosen = document.getElementById("file");
  chosen.files = files.files;
  chosen.dispatchEvent(new Event("change"));
  // Decoding takes a while: 20 s at most.
  for (let wait = 0; wait < 200 && best() !== seen.drawn; wait++) await new Promise((done) => setTimeout(done, 100));
  seen.chosen = best();
  seen.latency = document.getElementById("latency").value;
  return seen;
}
