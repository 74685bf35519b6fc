// Draws, runs the model, shows scores, routed patches and latency.
const SIDE = 28, PATCH = 4, GRID = SIDE / PATCH;
const REPEATS = 10; // a browser's clock is coarse

const { instance } = await WebAssembly.instantiateStreaming(fetch("coda_web.wasm"));
const wasm = instance.exports;
const bytes = (at, length) => new Uint8Array(wasm.memory.buffer, at, length);
const text = bytes(wasm.labels(), 256);
const labels = new TextDecoder().decode(text.subarray(0, text.indexOf(0))).trimEnd().split("\n");

const element = (id) => document.getElementById(id);
const draw = element("draw").getContext("2d", { willReadFrequently: true });

/// Logits and routed patches of 28 x 28 grey values, and the milliseconds of a run.
export function classify(pixels, reduction, repeats = REPEATS) {
  bytes(wasm.pixels(), SIDE * SIDE).set(pixels);
  const start = performance.now();
  for (let run = 0; run < repeats; run++) {
    const step = wasm.run(reduction);
    if (step !== 0) throw new Error(`the runtime refused step ${step}`);
  }
  const milliseconds = (performance.now() - start) / repeats;
  return {
    logits: new Float32Array(wasm.memory.buffer, wasm.scores(), wasm.classes()).slice(),
    routed: bytes(wasm.routed(), wasm.layers() * GRID * GRID).slice(),
    milliseconds,
  };
}

/// Grey values of the drawing.
function pixels() {
  const { data } = draw.getImageData(0, 0, SIDE, SIDE);
  return Uint8Array.from({ length: SIDE * SIDE }, (_, at) => (data[4 * at] + data[4 * at + 1] + data[4 * at + 2]) / 3);
}

function paint(context, grey) {
  const image = context.createImageData(SIDE, SIDE);
  grey.forEach((value, at) => image.data.set([value, value, value, 255], 4 * at));
  context.putImageData(image, 0, 0);
}

/// The image four times as large, with a frame around each patch that passes a layer.
function frame(made, grey, passes) {
  const small = document.createElement("canvas"), context = made.getContext("2d");
  small.width = small.height = SIDE;
  paint(small.getContext("2d"), grey);
  made.width = made.height = 4 * SIDE;
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, 4 * SIDE, 4 * SIDE);
  context.strokeStyle = "#ff9a1f";
  context.fillStyle = "#ff9a1f44";
  context.lineWidth = 2;
  passes.forEach((passed, at) => {
    if (!passed) return;
    const side = 4 * PATCH, place = [at % GRID * side + 1, Math.floor(at / GRID) * side + 1, side - 2, side - 2];
    context.fillRect(...place);
    context.strokeRect(...place);
  });
}

function canvas(parent) {
  const made = document.createElement("canvas");
  made.width = made.height = SIDE;
  parent.append(made);
  return made;
}

function show() {
  const grey = pixels(), reduction = Number(element("reduction").value);
  element("r").value = reduction;
  const { logits, routed, milliseconds } = classify(grey, reduction);
  const dense = reduction === 1 ? milliseconds : classify(grey, 1).milliseconds;
  const largest = Math.max(...logits);
  const weights = Array.from(logits, (logit) => Math.exp(logit - largest));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  element("scores").replaceChildren(...labels.map((label, index) => {
    const share = weights[index] / total, row = document.createElement("tr");
    row.className = index === logits.indexOf(largest) ? "best" : "";
    row.innerHTML = "<td></td><td></td><td class=bar><div></div></td>";
    row.cells[0].textContent = label;
    row.cells[1].textContent = `${(100 * share).toFixed(1)} %`;
    row.querySelector("div").style.width = `${100 * share}%`;
    return row;
  }));
  element("latency").value = `${milliseconds.toFixed(2)} ms at r = ${reduction}, ${dense.toFixed(2)} ms at r = 1: ` +
    `${(dense / milliseconds).toFixed(1)} times as fast (means of ${REPEATS})`;
  const layers = element("layers");
  layers.replaceChildren();
  for (let layer = 0; layer < wasm.layers(); layer++) {
    const figure = document.createElement("figure");
    const passes = routed.subarray(layer * GRID * GRID, (layer + 1) * GRID * GRID);
    frame(canvas(figure), grey, passes);
    const caption = document.createElement("figcaption");
    caption.textContent = `layer ${layer}: ${passes.reduce((sum, one) => sum + one, 0)} of ${GRID * GRID}`;
    figure.append(caption);
    layers.append(figure);
  }
}

function clear() {
  draw.fillStyle = "#000";
  draw.fillRect(0, 0, SIDE, SIDE);
}

let last = null;
function stroke(event) {
  const box = draw.canvas.getBoundingClientRect();
  const at = [(event.clientX - box.left) * SIDE / box.width, (event.clientY - box.top) * SIDE / box.height];
  draw.strokeStyle = "#fff";
  draw.lineCap = draw.lineJoin = "round";
  draw.lineWidth = 2.5;
  draw.beginPath();
  draw.moveTo(...(last ?? at));
  draw.lineTo(...at);
  draw.stroke();
  last = at;
  show();
}

draw.canvas.addEventListener("pointerdown", stroke);
draw.canvas.addEventListener("pointermove", (event) => last && stroke(event));
addEventListener("pointerup", () => { last = null; });
element("clear").addEventListener("click", () => { clear(); show(); });
element("reduction").addEventListener("input", show);
for (const input of [element("file"), element("invert")]) input.addEventListener("change", async () => {
  const [file] = element("file").files;
  if (!file) return;
  const image = await createImageBitmap(file);
  const side = Math.min(image.width, image.height); // the middle square
  clear();
  draw.filter = element("invert").checked ? "invert(1)" : "none";
  draw.drawImage(image, (image.width - side) / 2, (image.height - side) / 2, side, side, 0, 0, SIDE, SIDE);
  draw.filter = "none";
  show();
});

/// The bundled examples, grey values one after the other.
export const examples = new Uint8Array(await (await fetch("images.bin")).arrayBuffer());
for (let at = 0; at < examples.length; at += SIDE * SIDE) {
  const example = examples.subarray(at, at + SIDE * SIDE), button = document.createElement("button");
  button.type = "button";
  button.setAttribute("aria-label", labels[at / SIDE / SIDE]);
  paint(canvas(button).getContext("2d"), example);
  button.addEventListener("click", () => { paint(draw, example); show(); });
  element("examples").append(button);
}
paint(draw, examples.subarray(0, SIDE * SIDE));
show();

/// Answers a text; `each` is given the text of every token as it comes.
export async function write(question, reduction, each) {
  const asked = new TextEncoder().encode(question).subarray(0, wasm.question_room());
  bytes(wasm.question(), asked.length).set(asked);
  const step = wasm.begin(asked.length, reduction);
  if (step !== 0) throw new Error(`the runtime refused step ${step}`);
  const decoder = new TextDecoder();
  let whole = "";
  for (let length = wasm.next(); length >= 0; length = wasm.next()) {
    const piece = decoder.decode(bytes(wasm.piece(), length), { stream: true });
    whole += piece;
    await each(piece);
  }
  return whole;
}

element("ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = element("answer");
  answer.value = "";
  // A frame for each token: the answer is seen to grow.
  await write(element("question").value, Number(element("reduction").value), (piece) => {
    answer.value += piece;
    return new Promise((done) => requestAnimationFrame(done));
  });
});

// `?test`: what browser.mjs asks for.
if (location.search === "?test") await (await import("./test.js")).run({ classify, write, examples, draw });
