"""Prints the throughput of the inner loops: throughput.py LLVM_MCA AARCH64.s ARMV7.s [--json]; see throughput.sh

A kernel's inner loop is, of all innermost loops in its functions, the densest in products without
comparisons and divisions (an activation has those). The peak of a core is arithmetic: pipes that take the
instruction that multiplies, as LLVM's tables have them, times its products. llvm-mca 19
has no model of its own for the A72 and A76 (both are its A57: three micro-operations a cycle, one load pipe, `sdot` on
two pipes) and gives the A53 full 128-bit units. Its in-order cores write back in order: on the A55 whatever is
shorter than `sdot` waits behind it, and a branch waits three cycles.
"""
import json, re, subprocess, sys

arguments = [argument for argument in sys.argv[1:] if argument != "--json"]
llvm_mca, aarch64, armv7 = arguments
ITERATIONS = 200
PANEL_BLOCK = 64  # products of a row with a block of Panel8x8
# Products of an instruction.
PRODUCTS = {"sdot": (r"sdot\s", 16), "smmla": (r"smmla\s", 32), "smull, smlal": (r"sm(?:ul|la)l2?\s+v\d+\.8h|vm(?:ul|la)l\.s8\s", 8),
            "fmul, fadd": (r"fmul\s+v\d+\.4s, v\d+\.4s, v\d+\.s\[", 4)}
CORES = ("cortex-a53", "cortex-a55", "cortex-a72", "cortex-a76", "neoverse-n1", "neoverse-n2", "cortex-a510")
WIDE = ("cortex-a76", "neoverse-n1", "neoverse-n2", "cortex-a510")  # two 128-bit pipes
# Peak products a cycle of each instruction: one 128-bit unit, or two.
PEAKS = {
    "sdot": {core: 32 if core in WIDE else 16 for core in CORES},
    "smmla": {core: 64 for core in WIDE},
    "smull, smlal": {core: 16 if core in CORES[5:] else 8 for core in CORES} | {"cortex-a9": 8},
    "fmul, fadd": {core: 4 if core in WIDE else 2 for core in CORES},
}
# table, kernel, instruction, cores
KERNELS = [
    ("neon", "gemm_f32_qd8_qc8w", "smull, smlal", CORES),
    ("neon", "gemm_f32_qd8_qc4w", "smull, smlal", CORES),
    ("neon", "gemm_f32_f32_f32w", "fmul, fadd", CORES),
    ("neon_dotprod", "gemm_f32_qd8_qc8w", "sdot", CORES[1:2] + CORES[3:]),
    ("neon_dotprod", "gemm_f32_qd8_qc4w", "sdot", CORES[1:2] + CORES[3:]),
    ("neon_i8mm", "gemm_f32_qd8_qc8w", "smmla", CORES[5:]),
    ("neon_i8mm", "gemm_f32_qd8_qc4w", "smmla", CORES[5:]),
    ("armv7_neon", "gemm_f32_qd8_qc8w", "smull, smlal", ("cortex-a9",)),
]
# Least share of peak: the first core that meets it is enough.
BOUNDS = [
    ("neon", "gemm_f32_qd8_qc8w", ("cortex-a72",), 7 / 8),
    ("neon_dotprod", "gemm_f32_qd8_qc8w", ("cortex-a76",), 0.90),
    ("neon_dotprod", "gemm_f32_qd8_qc8w", ("cortex-a55",), 0.95),
    ("neon_i8mm", "gemm_f32_qd8_qc8w", ("neoverse-n2", "cortex-a510"), 0.90),
]


def functions(path):
    """Name and lines of each function of an assembly file."""
    name, lines = None, []
    for line in open(path, encoding="utf-8"):
        if label := re.match(r"(_[\w.$]+):", line):
            name, lines = label[1], []
        elif line.strip().startswith(".size") and name:
            yield name, lines
            name = None
        elif name:
            lines.append(line.rstrip())


def innermost_loops(lines):
    """Instructions of the loops without a loop inside."""
    labels, loops = {}, []
    for at, line in enumerate(lines):
        if label := re.match(r"(\.L[\w$.]+|\d+):", line.strip()):
            labels[label[1]] = at
        elif branch := re.match(r"\s+(?:b\.?\w*|cbn?z|tbn?z)\s.*?(\.L[\w$.]+|\d+b)\s*$", line):
            target = branch[1].rstrip("b") if branch[1][0].isdigit() else branch[1]
            if target in labels:
                loops.append((labels[target], at))
    for first, last in loops:
        if not any((a, b) != (first, last) and first <= a and b <= last for a, b in loops):
            yield [line for line in lines[first : last + 1] if re.match(r"\s+[a-z]", line)]


def products(loop, instruction):
    pattern, count = PRODUCTS[instruction]
    return sum(count for line in loop if re.match(rf"\s+(?:{pattern})", line))


def inner_loop(path, table, kernel, instruction):
    """The densest loop in a kernel's functions and those of its table that it may call."""
    prefix = f"kernels{len(table)}{table}"
    own = [prefix + f"{len(kernel)}{kernel}", prefix + "10block_sums", prefix + "8row_sums", prefix + "9add_pairs", prefix + "9quad_sums", prefix + "10group_sums"]
    loops = [loop for name, lines in functions(path) if any(part in name for part in own) for loop in innermost_loops(lines)]
    loops = [loop for loop in loops if not any(re.match(r"\s+(?:fcm|fdiv|bsl|bif|bit)", line) for line in loop)]
    found = max(loops, key=lambda loop: products(loop, instruction) ** 2 / len(loop), default=[])
    if not products(found, instruction):
        sys.exit(f"throughput.py: no loop of {table} {kernel}")
    return found


def cycles(loop, core, triple):
    features = ["-mattr=+dotprod,+i8mm,+fullfp16"] if triple == "aarch64" else ["-mattr=+neon"]
    command = [llvm_mca, f"-mtriple={triple}", f"-mcpu={core}", f"-iterations={ITERATIONS}", *features]
    printed = subprocess.run(command, input="\n".join(loop) + "\n", capture_output=True, text=True, check=True).stdout
    return int(re.search(r"Total Cycles:\s+(\d+)", printed)[1]) / ITERATIONS


lines = []
for table, kernel, instruction, cores in KERNELS:
    triple, path = ("armv7", armv7) if table.startswith("armv7") else ("aarch64", aarch64)
    loop = inner_loop(path, table, kernel, instruction)
    for core in cores:
        count, taken = products(loop, instruction), cycles(loop, core, triple)
        peak = PEAKS[instruction][core]
        lines.append({
            "table": table, "kernel": kernel, "core": core, "instruction": instruction, "instructions": len(loop),
            "products": count, "cycles": taken, "cycles_per_block_and_row": taken * PANEL_BLOCK / count,
            "mac_per_cycle": count / taken, "peak": peak, "share": count / taken / peak,
        })
failed = []
for table, kernel, cores, least in BOUNDS:
    best = max(line["share"] for line in lines if (line["table"], line["kernel"]) == (table, kernel) and line["core"] in cores)
    if best < least:
        failed.append(f"{table} {kernel} on {' or '.join(cores)}: {best:.1%} of peak, {least:.1%} wanted")
if "--json" in sys.argv:
    print(json.dumps({"loops": lines, "failed": failed}, indent=1))
else:
    print(f"{'table':13} {'kernel':18} {'core':12} {'loop':>5} {'cycles':>8} {'products':>8} {'cycles/block row':>17} {'MAC/cycle':>10} {'peak':>5} {'share':>6}")
    for line in lines:
        print("{table:13} {kernel:18} {core:12} {instructions:5} {cycles:8.2f} {products:8} {cycles_per_block_and_row:17.2f} "
              "{mac_per_cycle:10.2f} {peak:5} {share:6.1%}".format(**line))
for line in failed:
    print("below its bound:", line, file=sys.stderr)
sys.exit(bool(failed))
