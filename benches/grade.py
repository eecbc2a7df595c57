"""Grading against plain CPython, and how long it takes.

    cargo build --release --locked
    python3 benches/grade.py target/release/fmflow FOLDER

FOLDER holds HumanEval.jsonl.gz (github.com/openai/human-eval) and mbpp-sanitized.jsonl (github.com/google-research/google-research). Needs
Python 3.9 or newer, and Linux. In this order:

1. The canonical solutions of both pass, with one worker and with four, three times each.
2. 200 mutants of them get the verdicts of plain CPython: a process of its own for each, which runs the program and then the tests. A mutant
   changes one operator, comparison, constant or condition; the same seed gives the same mutants.
3. All 164 solutions of HumanEval on one core: wall time and processor time.
4. Only if the package evalplus is installed: 200 mutants of HumanEval get the verdicts of its checker. It cannot download its own inputs here, so
   those of HumanEval's tests are recorded and given to both in EvalPlus's layout.
"""

import ast
import copy
import gzip
import json
import os
import pathlib
import random
import resource
import subprocess
import sys
import tempfile
import time

MUTANTS, SEED, SECONDS = 200, 14, 20
FILES = {"humaneval": "HumanEval.jsonl.gz", "mbpp": "mbpp-sanitized.jsonl"}


def read(path):
    opened = gzip.open(path, "rt") if path.suffix == ".gz" else open(path)
    with opened as file:
        return [json.loads(line) for line in file if line.strip()]


def solution(name, problem):
    return problem["prompt"] + problem["canonical_solution"] if name == "humaneval" else problem["code"]


def grade(program, name, problems, samples, workers, prepare=None):
    """The answer of `fmflow grade` to `samples`: pairs of a task and a program."""
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.writelines(json.dumps({"task_id": task, "solution": text}) + "\n" for task, text in samples)
        file.flush()
        line = [program, "grade", name, "--problems", problems, "--samples", file.name, "--workers", str(workers), "--json"]
        ran = subprocess.run(line, capture_output=True, text=True, preexec_fn=prepare)
    if ran.returncode:
        sys.exit(ran.stderr)
    return json.loads(ran.stdout)


class Changes(ast.NodeTransformer):
    """Applies change number `target` to a tree, and counts all that are possible."""

    OPERATORS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.FloorDiv, ast.FloorDiv: ast.Div, ast.Mod: ast.Mult}
    COMPARISONS = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.In: ast.NotIn}

    def __init__(self, target):
        self.target, self.count = target, 0

    def takes_place(self):
        self.count += 1
        return self.count - 1 == self.target

    def visit_BinOp(self, node):
        self.generic_visit(node)
        if type(node.op) in self.OPERATORS and self.takes_place():
            node.op = self.OPERATORS[type(node.op)]()
        return node

    def visit_Compare(self, node):
        self.generic_visit(node)
        if type(node.ops[0]) in self.COMPARISONS and self.takes_place():
            node.ops[0] = self.COMPARISONS[type(node.ops[0])]()
        return node

    def visit_Constant(self, node):
        if type(node.value) is int and self.takes_place():
            return ast.copy_location(ast.Constant(node.value + 1), node)
        if type(node.value) is bool and self.takes_place():
            return ast.copy_location(ast.Constant(not node.value), node)
        return node

    def visit_If(self, node):
        self.generic_visit(node)
        if self.takes_place():
            node.test = ast.UnaryOp(ast.Not(), node.test)
        return node

    def visit_Return(self, node):
        self.generic_visit(node)
        if node.value is not None and self.takes_place():
            node.value = ast.Constant(None)
        return node


def mutate(text, draw, entry=None):
    """The text with one change, or None if none is possible; in the function `entry` alone, if it is named. What the prompt of HumanEval defines
    beside it is the tests' own: they would call the function of the reference, and CPython the changed one."""
    tree = ast.parse(text)
    parts = [part for part in tree.body if entry is None or getattr(part, "name", None) == entry]
    counter = Changes(-1)
    for part in parts:
        counter.visit(copy.deepcopy(part))
    if not counter.count:
        return None
    changes = Changes(draw.randrange(counter.count))
    for part in parts:
        changes.visit(part)
    return ast.unparse(ast.fix_missing_locations(tree))


def passes_plainly(name, problem, text):
    """Whether CPython runs the program and its tests, one after the other, without an error."""
    if name == "humaneval":
        tests = f"{problem['test']}\ncheck({problem['entry_point']})\n"
    else:
        tests = "\n".join(problem["test_imports"] + problem["test_list"])
    with tempfile.NamedTemporaryFile("w", suffix=".py") as file:
        file.write(f"{text}\n\n{tests}\n")
        file.flush()
        limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
        try:
            line = [sys.executable, "-I", file.name]
            ran = subprocess.run(line, capture_output=True, timeout=SECONDS, preexec_fn=limit, env={"PYTHONHASHSEED": "0"})
        except subprocess.TimeoutExpired:
            return False
    return ran.returncode == 0


def check_canonical(program, folder):
    for name, file in FILES.items():
        problems = read(folder / file)
        samples = [(problem["task_id"], solution(name, problem)) for problem in problems]
        for workers in (1, 4):
            for turn in range(3):
                start = time.perf_counter()
                found = grade(program, name, folder / file, samples, workers)
                took = time.perf_counter() - start
                print(f"{name}, workers {workers}, turn {turn + 1}: {found['passed']}/{found['total']} in {took:.1f} s", flush=True)


def check_mutants(program, folder):
    draw, differ, passed = random.Random(SEED), [], 0
    for name, file in FILES.items():
        problems, mutants = read(folder / file), []
        while len(mutants) < MUTANTS // len(FILES):
            problem = draw.choice(problems)
            text = mutate(solution(name, problem), draw, problem.get("entry_point"))
            if text is not None and all(text != other for _, other in mutants):
                mutants.append((problem, text))
        found = grade(program, name, folder / file, [(problem["task_id"], text) for problem, text in mutants], 2)
        for (problem, text), result in zip(mutants, found["results"]):
            plain = passes_plainly(name, problem, text)
            passed += plain
            if plain != result["passed"]:
                differ.append((name, problem["task_id"], plain, result["outcome"], result["detail"], text))
    print(f"mutants: {MUTANTS}, of which CPython passes {passed}; verdicts that differ: {len(differ)}")
    for one in differ:
        print(*one, sep="\n  ")


def measure(program, folder):
    problems = read(folder / FILES["humaneval"])
    samples = [(problem["task_id"], solution("humaneval", problem)) for problem in problems]
    core = min(os.sched_getaffinity(0))
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    found = grade(program, "humaneval", folder / FILES["humaneval"], samples, 1, lambda: os.sched_setaffinity(0, {core}))
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"one core, {found['total']} programs: {wall:.1f} s, processor time {processor:.1f} s")


def record_inputs(problem):
    """The arguments with which the tests of a problem call its solution, or None if JSON changes some of them."""
    space, calls = {}, []
    exec(solution("humaneval", problem), space)
    function = space[problem["entry_point"]]

    def record(*arguments):
        calls.append(copy.deepcopy(list(arguments)))
        return function(*arguments)

    exec(problem["test"], space)
    space["check"](record)
    try:
        same = json.loads(json.dumps(calls)) == calls
    except TypeError:
        return None
    return calls if same and calls else None


def check_evalplus(program, folder):
    try:
        from evalplus.eval import untrusted_check
        from evalplus.gen.util import trusted_exec
    except ImportError:
        return print("evalplus is not installed")
    problems = []
    for problem in read(folder / FILES["humaneval"]):
        inputs = record_inputs(problem)
        if inputs:
            # A root of a polynomial counts where the polynomial is this close to 0, as in HumanEval's own test.
            tolerance = 1e-4 if problem["entry_point"] == "find_zero" else 0
            problems.append(problem | {"base_input": inputs, "plus_input": [], "atol": tolerance, "contract": ""})
    draw, mutants, differ, passed = random.Random(SEED), [], [], 0
    while len(mutants) < MUTANTS:
        problem = draw.choice(problems)
        text = mutate(solution("humaneval", problem), draw, problem["entry_point"])
        if text is not None and all(text != other for _, other in mutants):
            mutants.append((problem, text))
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.writelines(json.dumps(problem) + "\n" for problem in problems)
        file.flush()
        found = grade(program, "humaneval+", file.name, [(problem["task_id"], text) for problem, text in mutants], 2)
    for (problem, text), result in zip(mutants, found["results"]):
        inputs, entry = problem["base_input"], problem["entry_point"]
        expected, times = trusted_exec(solution("humaneval", problem), inputs, entry, record_time=True)
        says, _ = untrusted_check("humaneval", text, inputs, entry, expected, problem["atol"], times, fast_check=True)
        passed += says == "pass"
        if (says == "pass") != result["passed"]:
            differ.append((problem["task_id"], says, result["outcome"], result["detail"], text))
    print(f"evalplus: {MUTANTS} mutants of {len(problems)} problems, of which it passes {passed}; verdicts that differ: {len(differ)}")
    for one in differ:
        print(*one, sep="\n  ")


def main():
    program, folder = os.path.abspath(sys.argv[1]), pathlib.Path(sys.argv[2])
    check_canonical(program, folder)
    check_mutants(program, folder)
    measure(program, folder)
    check_evalplus(program, folder)


if __name__ == "__main__":
    main()
