#!/usr/bin/env python3
"""Lists vector registers that innermost loops of tile functions store to the stack.

usage: spills.py OBJECT.o [FUNCTION ...]      exit 1 if any loop of the functions spills

A register tile is fast only while its sums stay in registers; one spill costs up to a third. This
reads the disassembly (objdump), takes every backward jump whose body holds no other backward jump
as an innermost loop, and counts the instructions in it that store a vector register to the stack
(a load alone is a constant that found no register: it costs no more than any other load). A body
that a return or a jump leaves for good is no loop but a block moved out of the way.
Without FUNCTION arguments, the hottest are looked at: HOT, for both types.
"""

import re
import subprocess
import sys

HOT = [f"{name}_{element}" for element in ("f32", "f64") for name in (
    "score", "score_few", "score_distance", "score_distance_few", "score_additive",
    "score_additive_few", "score_tanh", "score_tanh_few", "weigh", "weigh_few", "weigh_each",
    "power_sums", "power_sums_few", "top", "top_few", "aggregate", "aggregate_few", "distribute",
    "weigh_and_center", "pairwise_gradient")]
STACK_VECTOR = re.compile(r" v?mov\w+\s+%[xyz]mm\d+,[-\w]*\(%rsp\)| st[rp]\s+q.*\[sp")
JUMP = re.compile(r"\s(j\w+|b\.?\w*|cbn?z|tbn?z)\s.*?([0-9a-f]+) <")
RETURN = re.compile(r" ret\b")


def functions(path):
    """Yields (name, [(address, instruction text)]) for every function of an object file."""
    text = subprocess.run(["objdump", "-d", "--no-show-raw-insn", path], check=True,
                          capture_output=True, text=True).stdout
    name, body = None, []
    for line in text.splitlines():
        start = re.match(r"[0-9a-f]+ <(.+)>:$", line)
        if start:
            if name:
                yield name, body
            name, body = start.group(1), []
        elif ":" in line and name:
            address, _, instruction = line.partition(":")
            body.append((int(address, 16), " " + instruction.strip()))
    if name:
        yield name, body


def leaves(instruction, first, last):
    """Whether what runs after the instruction is certain to lie outside."""
    jump = JUMP.search(instruction)
    return RETURN.match(instruction) or (
        jump and jump.group(1) in ("jmp", "b") and not first <= int(jump.group(2), 16) <= last)


def innermost_loops(body):
    """Yields the instructions of each loop that contains no other loop."""
    spans = []
    for address, instruction in body:
        jump = JUMP.search(instruction)
        if jump and body[0][0] <= int(jump.group(2), 16) < address:
            spans.append((int(jump.group(2), 16), address))
    for first, last in spans:
        if any((a, b) != (first, last) and first <= a and b <= last for a, b in spans):
            continue
        loop = [text for address, text in body if first <= address <= last]
        if not any(leaves(text, first, last) for text in loop):
            yield first, loop


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    wanted = sys.argv[2:] or HOT
    seen = spills = 0
    for name, body in functions(sys.argv[1]):
        if name.split(".")[0] not in wanted:
            continue
        for first, loop in innermost_loops(body):
            stack = [text for text in loop if STACK_VECTOR.search(text)]
            seen += 1
            spills += bool(stack)
            if stack:
                print(f"{name}+{first - body[0][0]:#x}: {len(stack)} of {len(loop)} instructions"
                      f" spill:{stack[0]}")
    print(f"{sys.argv[1]}: {seen} innermost loops, {spills} with vectors on the stack")
    sys.exit(1 if spills else 0)


if __name__ == "__main__":
    main()
