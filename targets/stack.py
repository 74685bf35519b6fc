#!/usr/bin/env python3
"""Bounds the stack of a Cortex-M program from its disassembly:
    targets/stack.py ELF CORE

Frames are what each function pushes and subtracts, all of it on every path. Calls are branches to
other functions; a call through a register may reach every function whose address the program holds
outside of the vector table: the members of the one kernel table it names. Recursion is an error. One
interrupt (SysTick) may come at the deepest point, with the registers that the core saves.
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
    """The entry, and every word of .rodata and .data: not of the vector table or the package."""
    with open(path, "rb") as file:
        elf = file.read()
    entry, _, offset = struct.unpack_from("<III", elf, 24)
    size, count, names = struct.unpack_from("<HHH", elf, 46)
    sections = [struct.unpack_from("<10I", elf, offset + index * size) for index in range(count)]
    strings = sections[names][4]
    words = set()
    for section in sections:
        name = elf[strings + section[0]:].split(b"\0", 1)[0]
        if name in (b".rodata", b".data"):
            body = elf[section[4]:section[4] + section[5] // 4 * 4]
            words.update(word for word, in struct.iter_unpack("<I", body))
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


def read(path, core):
    """Functions by address, and the addresses that the code itself makes or holds."""
    command = [objdump(), "-d", "--no-show-raw-insn", f"--mcpu={core}", path]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
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


def deepest(address, functions, reachable, known, path):
    """Bytes and chain of the deepest calls from a function."""
    if address in known:
        return known[address]
    function = functions[address]
    if address in path:
        sys.exit(f"stack.py: {function.name} is recursive")
    inner = (0, [])
    callees = {callee for callee in function.calls if callee in functions and callee != address}
    if function.indirect:
        callees |= reachable
    for callee in callees:
        inner = max(inner, deepest(callee, functions, reachable, known, path | {address}))
    known[address] = (function.frame + inner[0], [(function.name, function.frame)] + inner[1])
    return known[address]


def main():
    path, core = sys.argv[1:]
    functions, held = read(path, core)
    entry, words = entry_and_data(path)
    held |= words
    reachable = {word & ~1 for word in held if word & 1 and word & ~1 in functions}
    by_name = {function.name: address for address, function in functions.items()}
    known = {}
    bound, chain = deepest(entry, functions, reachable, known, frozenset())
    interrupt, _ = deepest(by_name["SysTick"], functions, reachable, known, frozenset())
    for name, frame in chain:
        print(f"{frame:6} {name}", file=sys.stderr)
    print(f"{EXCEPTION_FRAME + interrupt:6} SysTick and the registers saved for it", file=sys.stderr)
    for address in sorted(reachable):
        print(f"       through a register: {functions[address].name}", file=sys.stderr)
    print(bound + EXCEPTION_FRAME + interrupt)


main()
