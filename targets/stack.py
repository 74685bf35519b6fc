#!/usr/bin/env python3
"""Bounds the stack of a program of a board from its disassembly:
    targets/stack.py ELF CORE       CORE: one of Cortex-M as LLVM names it, or riscv32

Frames are what each function pushes and subtracts, all of it on every path. Calls are branches to
other functions; a call through a register may reach every function whose address the program holds
outside of the vector table: the members of the one kernel table it names. Recursion is an error.
On a Cortex-M one interrupt (SysTick) may come at the deepest point, with the registers that the core
saves. On RISC-V a register that holds a known address is followed, and so are the tables of a `match`; no
interrupt is enabled, and an exception ends the program.
Prints the bound in bytes, and the deepest chain of calls on the standard error.
"""

import glob
import os
import re
import shutil
import struct
import subprocess
import sys

# Registers that a core with a floating point unit saves for an exception, and its alignment.
EXCEPTION_FRAME = 26 * 4 + 4


def objdump():
    tools = [os.environ.get("LLVM_OBJDUMP"), "llvm-objdump"]
    tools += [f"llvm-objdump-{version}" for version in range(25, 13, -1)]
    tools += glob.glob(os.path.expanduser("~/.rustup/toolchains/*/lib/rustlib/*/bin/llvm-objdump"))
    for tool in tools:
        if tool and shutil.which(tool):
            return tool
    sys.exit("stack.py: llvm-objdump is missing: `rustup component add llvm-tools`, or the package llvm")


def entry_and_data(path):
    """The entry, and every word of .rodata and .data by address: not of the vector table or the package."""
    with open(path, "rb") as file:
        elf = file.read()
    entry, _, offset = struct.unpack_from("<III", elf, 24)
    size, count, names = struct.unpack_from("<HHH", elf, 46)
    sections = [struct.unpack_from("<10I", elf, offset + index * size) for index in range(count)]
    strings = sections[names][4]
    words = {}
    for section in sections:
        name = elf[strings + section[0]:].split(b"\0", 1)[0]
        if name in (b".rodata", b".data"):
            body = elf[section[4]:section[4] + section[5] // 4 * 4]
            words.update((section[3] + 4 * index, word) for index, (word,) in enumerate(struct.iter_unpack("<I", body)))
    return entry & ~1, words


class Function:
    def __init__(self, name):
        self.name, self.frame, self.calls, self.indirect = name, 0, set(), False


def registers(text):
    """How many registers a list names."""
    total = 0
    for part in text.split(","):
        ends = [int(end) for end in re.findall(r"[rds](\d+)", part)]
        total += ends[1] - ends[0] + 1 if "-" in part and len(ends) == 2 else 1
    return total


def adjustment(instruction, operands):
    """Bytes by which an instruction lowers the stack pointer."""
    name = instruction.split(".")[0]
    inside = re.search(r"\{(.*)\}", operands)
    if name in ("push", "stmdb") and inside and (name == "push" or operands.startswith("sp!")):
        return 4 * registers(inside[1])
    if name in ("vpush", "vstmdb") and inside and (name == "vpush" or operands.startswith("sp!")):
        return (8 if inside[1].strip().startswith("d") else 4) * registers(inside[1])
    if name in ("sub", "subw") and re.match(r"sp\b", operands):
        amount = re.search(r"#(0x[0-9a-f]+|\d+)", operands)
        if not amount:
            sys.exit(f"stack.py: a frame of no fixed size: {instruction} {operands}")
        return int(amount[1], 0)
    moved = re.search(r"\[sp, #-(0x[0-9a-f]+|\d+)\]!", operands)
    return int(moved[1], 0) if moved else 0


def disassemble(path, *options):
    command = [objdump(), "-d", "--no-show-raw-insn", *options, path]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def read(path, core):
    """Functions by address, and the addresses that the code itself makes or holds."""
    lines = disassemble(path, f"--mcpu={core}")
    functions, held, current, low = {}, set(), None, {}
    for line in lines:
        if start := re.match(r"([0-9a-f]{8}) <([^$].*)>:$", line):
            current, low = Function(start[2]), {}
            functions[int(start[1], 16)] = current
            continue
        code = re.match(r"\s*[0-9a-f]+:\s+(?:[0-9a-f]{2} ){0,4}\s*(\S+)\s*(.*)$", line)
        if not code or current is None:
            continue
        name, operands = code[1], code[2]
        if name == "<unknown>":
            sys.exit(f"stack.py: {current.name}: an instruction that {core} has not: {line.strip()}")
        if name == ".word":
            held.add(int(operands.split()[0], 0))
        current.frame += adjustment(name, operands)
        if made := re.match(r"(\w+), #(0x[0-9a-f]+|\d+)", operands):
            if name == "movw":
                low[made[1]] = int(made[2], 0)
            elif name == "movt":
                held.add(int(made[2], 0) << 16 | low.get(made[1], 0))
        target = re.match(r"(?:\w+, )?0x([0-9a-f]+)", operands)
        if re.match(r"(bl|b|cbz|cbnz|b(eq|ne|hs|lo|mi|pl|vs|vc|hi|ls|ge|lt|gt|le))(\.w|\.n)?$", name) and target:
            current.calls.add(int(target[1], 16))
        elif re.match(r"bl?x", name) and not operands.startswith("lr"):
            current.indirect = True
    return functions, held


class RiscV:
    """Functions by address, and the addresses that the code makes, of a RISC-V program."""

    BRANCHES = re.compile(r"(j|jal|b(eq|ne|lt|ge|ltu|geu|gt|le|gtu|leu)z?)$")

    def __init__(self, path, words):
        self.words, self.functions, self.held = words, {}, set()
        start = re.compile(r"([0-9a-f]{8}) <([^$.].*)>:$")
        code = re.compile(r"\s*([0-9a-f]+):\s+(\S+)\s*(.*)$")
        self.code = []
        for line in disassemble(path):
            if found := start.match(line):
                self.functions[int(found[1], 16)] = Function(found[2])
            elif found := code.match(line):
                if found[2] == "<unknown>":
                    sys.exit(f"stack.py: an unknown instruction: {line.strip()}")
                operands = re.sub(r"\s*<.*>", "", found[3])
                self.code.append((int(found[1], 16), found[2], [part.strip() for part in operands.split(",")]))
        starts = sorted(self.functions)
        ends = dict(zip(starts, starts[1:] + [1 << 32]))
        at = -1
        for index, (address, name, operands) in enumerate(self.code):
            if address in self.functions:
                at, self.known, self.tables = address, {}, {}
            self.follow(self.functions[at], (at, ends[at]), index, address, name, operands)

    def follow(self, function, inside, index, address, name, operands):
        """One instruction: what it takes of the stack, calls, and leaves in a register."""
        number = lambda text: int(text, 0)
        first = operands[0] if operands else ""
        if self.BRANCHES.match(name):
            target = number(operands[-1])
            if not inside[0] <= target < inside[1]:
                function.calls.add(target)
            return
        if name in ("jr", "jalr"):
            offset, register = re.match(r"(-?\w*?)\(?(\w+)\)?$", operands[-1]).groups()
            if register in self.known:
                function.calls.add(self.known[register] + number(offset or "0"))
            elif name != "jr" or not self.is_match(register, inside):
                function.indirect = True
            return
        if first == "sp" and operands[:2] != ["sp", "sp"] and name not in ("sw", "andi"):
            sys.exit(f"stack.py: {function.name}: a frame of no fixed size: {name} {operands}")
        if name == "addi" and operands[:2] == ["sp", "sp"]:
            function.frame += max(0, -number(operands[2]))
        elif name in ("sub", "add") and operands[:2] == ["sp", "sp"]:
            if operands[2] not in self.known:
                sys.exit(f"stack.py: {function.name}: a frame of no fixed size: {name} {operands}")
            amount = (self.known[operands[2]] + (1 << 31)) % (1 << 32) - (1 << 31)
            function.frame += max(0, amount if name == "sub" else -amount)
        value = table = None
        if name == "lui":
            value = number(operands[1]) << 12
        elif name == "auipc":
            value = address + (number(operands[1]) << 12)
        elif name == "li":
            value = number(operands[1])
        elif name == "addi" and operands[1] in self.known:
            value = self.known[operands[1]] + number(operands[2])
        elif name == "add":
            bases = [self.known[operand] for operand in operands[1:] if operand in self.known]
            table = ("base", bases[0]) if len(bases) == 1 else None
        elif name == "lw":
            place = re.match(r"0\((\w+)\)$", operands[1])
            base = self.tables.get(place[1]) if place else None
            table = ("entry", base[1]) if base and base[0] == "base" else None
        if name in ("sw", "sb", "sh") or name.startswith("csr"):
            return
        for kept, found in ((self.known, value), (self.tables, table)):
            kept.pop(first, None)
            if found is not None:
                kept[first] = found if kept is self.tables else found % (1 << 32)
        following = self.code[index + 1][1:] if index + 1 < len(self.code) else ("", [])
        used_at_once = following[0] in ("jr", "jalr") or following == ("csrw", ["mtvec", first])
        if value is not None and not used_at_once:
            self.held.add(value % (1 << 32))

    def is_match(self, register, inside):
        """Whether a register was loaded from a table of addresses of the function itself."""
        table = self.tables.get(register)
        return table is not None and table[0] == "entry" and inside[0] < self.words.get(table[1], 0) < inside[1]


def deepest(address, functions, reachable, known, path):
    """Bytes and chain of the deepest calls from a function."""
    if address in known:
        return known[address]
    function = functions[address]
    if address in path:
        sys.exit(f"stack.py: {function.name} is recursive: " + " ".join(functions[at].name for at in path))
    inner = (0, [])
    callees = {callee for callee in function.calls if callee in functions and callee != address}
    if function.indirect:
        callees |= reachable
    for callee in callees:
        inner = max(inner, deepest(callee, functions, reachable, known, path + (address,)))
    known[address] = (function.frame + inner[0], [(function.name, function.frame)] + inner[1])
    return known[address]


def main():
    path, core = sys.argv[1:]
    entry, words = entry_and_data(path)
    if core == "riscv32":
        program, thumb = RiscV(path, words), 0
        functions, held = program.functions, program.held | set(words.values())
    else:
        functions, held = read(path, core)
        held, thumb = held | set(words.values()), 1
    # The address of a function has the bit that says which instruction set it is in. The functions before
    # and around `main` do not return and are never called so; on RISC-V, where any address is even, a
    # float or the middle of a table may look like one of theirs.
    start_up = ("_start", "_abs_start", "_start_rust", "_start_trap", "_start_trap_rust", "main")
    reachable = {word - thumb for word in held if word & 1 == thumb and word - thumb in functions}
    reachable -= {address for address in reachable if functions[address].name in start_up}
    known = {}
    bound, chain = deepest(entry, functions, reachable, known, ())
    interrupt = 0
    if thumb:
        by_name = {function.name: address for address, function in functions.items()}
        interrupt = EXCEPTION_FRAME + deepest(by_name["SysTick"], functions, reachable, known, ())[0]
    for name, frame in chain:
        print(f"{frame:6} {name}", file=sys.stderr)
    if interrupt:
        print(f"{interrupt:6} SysTick and the registers saved for it", file=sys.stderr)
    for address in sorted(reachable):
        print(f"       through a register: {functions[address].name}", file=sys.stderr)
    print(bound + interrupt)


main()
