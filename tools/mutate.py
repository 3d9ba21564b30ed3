#!/usr/bin/env python3
"""Mutation testing with every mutant in one build.

cargo-mutants lists changes to the code that a test ought to notice, and tries each in a build of its own. Here all of
them are compiled at once, each behind a number that is looked up at run time: a function with mutants becomes

    match crate::switch::pick(7, 9) { 7 => { BODY, CHANGED }  8 => { ... }  9 => { ... }  _ => { BODY } }

in a copy of the tree, and a mutant costs the tests that reach its function instead of a build. What stands outside of
functions (constants, array lengths) cannot be switched; `plain` builds those one by one.

    tools/mutate.py WORK build 'src/wire/*.rs' ...   copy the tree to WORK, put the mutants in, build the tests
    tools/mutate.py WORK run                         try every mutant that has not been caught yet
    tools/mutate.py WORK plain                       the same for those that need a build each
    tools/mutate.py WORK report [--survivors]        a table by directory; what survives

Needs cargo-mutants, for its list alone. A test is run in a process of its own, by name, with
the mutant's number in its environment; one that fails, dies or does not end is a catch.
"""

import argparse
import concurrent.futures
import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Integration tests that drive the server itself, in this process or another. Those of the command line, of files of the
# repository and of resident memory are left out, and so is each single test that takes longer than SLOWEST seconds.
WIDER = "fuzz_corpus server_rules pages sockets no_alloc".split()
SEEDS, SEEDS_AT_ONCE, SLOWEST = 40, 5, 4.0
# Virtual memory of a test in KiB: a mutant that allocates without end must not take the machine along.
MEMORY_KIB = 8 << 20
# Warnings are no errors here: a changed body leaves names unused and comparisons without effect.
ENVIRONMENT = {**os.environ, "RUSTFLAGS": "--cap-lints warn", "CARGO_PROFILE_DEV_DEBUG": "0", "CARGO_TERM_COLOR": "never",
               "PROPTEST_MAX_SHRINK_ITERS": "0", "PROPTEST_DISABLE_FAILURE_PERSISTENCE": "true"}

# What may hide a brace: comments, strings and characters; else a brace.
TOKEN = re.compile(r"""//[^\n]*|/\*.*?\*/|\bb?r(\#*)".*?"\1|b?"(?:\\.|[^"\\])*"|b?'(?:\\(?:u\{[^}]*\}|x..|.)|[^\\'])'|[{}]""", re.S)


def say(text):
    print(text, file=sys.stderr, flush=True)


class Source:
    """The text of a file, and where line and column are in it."""

    def __init__(self, text):
        self.text = text
        self.lines = [0]
        for line in text.splitlines(keepends=True):
            self.lines.append(self.lines[-1] + len(line))

    def range(self, span):
        return tuple(self.lines[span[end]["line"] - 1] + span[end]["column"] - 1 for end in ("start", "end"))

    def body(self, start, end):
        """What is between the braces of the function there."""
        opened, last = [], None
        for token in TOKEN.finditer(self.text, start, end):
            if token[0] == "{":
                opened.append(token.end())
            elif token[0] == "}":
                last = (opened.pop(), token.start())
        return last


def rewrite(source, functions, start, end):
    """The text from start to end, with every function in it that has mutants made into a match over their numbers."""
    parts, at = [], start
    for (first, last), mutants in functions:
        if first < at or last > end:
            continue  # Within the one before, which has seen to it; or outside.
        inner = source.body(first, last)
        if inner is None or (first, last) == (start, end):
            continue
        head = source.text[at:inner[0]]
        if mutants[0]["const"]:
            head = re.sub(r"\bconst(\s+(?:unsafe\s+)?fn\b)(?![\s\S]*\bfn\b)", r"\1", head)
        numbers = [mutant["number"] for mutant in mutants]
        parts.append(f"{head}\nmatch crate::switch::pick({min(numbers)}, {max(numbers)}) {{\n")
        for mutant in mutants:
            if not mutant["viable"]:
                continue
            change = source.range(mutant["span"])
            changed = source.text[inner[0]:change[0]] + mutant["replacement"] + " " + source.text[change[1]:inner[1]]
            parts.append(f"{mutant['number']} => {{ //@{mutant['number']}\n{changed}\n}} //@end\n")
        within = [entry for entry in functions if inner[0] <= entry[0][0] and entry[0][1] <= inner[1]]
        parts.append(f"_ => {{{rewrite(source, within, *inner)}\n}} }}")
        at = inner[1]
    return "".join(parts) + source.text[at:end]


class Work:
    """The folder of one run: the tree with the mutants in it, and what is known of them."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder).resolve()

    def load(self, name, otherwise=None):
        path = self.folder / name
        return json.loads(path.read_text()) if path.exists() else otherwise

    def save(self, name, value):
        (self.folder / name).write_text(json.dumps(value, indent=0))

    def record(self, verdicts):
        """Adds to the results, which `run` and `plain` may both be at."""
        self.save("results.json", {**self.load("results.json", {}), **verdicts})

    def cargo(self, tree, *arguments, limit=3600):
        """Runs cargo in a tree; gives its messages. A constant may keep the compiler for ever: `limit` is in seconds."""
        # Each tree has a folder of its own: cargo gives their programs the same names.
        environment = {**ENVIRONMENT, "CARGO_TARGET_DIR": str(self.folder / f"{tree}-target")}
        command = ["timeout", str(limit), "cargo", *arguments, "--message-format=json"]
        ran = subprocess.run(command, cwd=self.folder / tree, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             text=True)
        return ran, [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]

    def copy(self, tree):
        """Copies what git tracks; a file that is the same is left, so that cargo need not build it again."""
        listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True,
                                stdout=subprocess.PIPE)
        for name in listed.stdout.decode().split("\0"):
            if name and (ROOT / name).is_file():
                put(self.folder / tree / name, (ROOT / name).read_bytes())
        return self.folder / tree


def put(path, content):
    if not path.exists() or path.read_bytes() != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def listed(globs):
    """The mutants of the files, numbered by function, each with a key that outlives changes elsewhere in the file."""
    options = [option for glob in globs for option in ("--file", glob)]
    ran = subprocess.run(["cargo", "mutants", "--list", "--json", *options], cwd=ROOT, stdout=subprocess.PIPE)
    if ran.returncode != 0:
        sys.exit("cargo mutants gave no list; `cargo install cargo-mutants --locked` brings it")
    mutants, seen = json.loads(ran.stdout), {}
    where = lambda span: (span["start"]["line"], span["start"]["column"])
    mutants.sort(key=lambda m: (m["file"], where((m["function"] or m)["span"]), where(m["span"])))
    for number, mutant in enumerate(mutants, 1):
        what = mutant["file"] + " " + mutant["name"].split(": ", 1)[1]
        seen[what] = seen.get(what, 0) + 1
        # Bodies of an `impl Trait` have a type each, and no two can stand side by side.
        switchable = bool(mutant["function"]) and "impl " not in mutant["function"]["return_type"]
        del mutant["diff"]
        mutant.update(number=number, key=f"{what} #{seen[what]}", viable=True, const=False, switchable=switchable)
    return mutants


def put_in(tree, mutants):
    """Writes the files with the mutants; gives which lines of them belong to which mutant."""
    lines = {}
    for name in sorted({mutant["file"] for mutant in mutants}):
        source, functions = Source((ROOT / name).read_text()), {}
        for mutant in mutants:
            if mutant["file"] == name and mutant["switchable"]:
                functions.setdefault(source.range(mutant["function"]["span"]), []).append(mutant)
        for (start, end), group in list(functions.items()):
            head = source.text[start:source.body(start, end)[0]]
            for mutant in group:
                mutant["const"] = bool(re.search(r"\bconst\s+(unsafe\s+)?fn\b", head))
        text = rewrite(source, sorted(functions.items()), 0, len(source.text))
        put(tree / name, text.encode())
        number = None
        for at, line in enumerate(text.split("\n"), 1):
            mark = re.search(r"//@(\w+)$", line)
            if mark:
                number = None if mark[1] == "end" else int(mark[1])
            elif number:
                lines[name, at] = number
    return lines


def unviable(messages, lines, mutants):
    """Marks what the compiler's errors show not to compile or not to be switchable; how many."""
    marked = 0
    for message in messages:
        if message.get("reason") != "compiler-message" or message["message"]["level"] != "error":
            continue
        error = message["message"]
        numbers = {lines.get((span["file_name"], at)) for span in error["spans"] if span["is_primary"]
                   for at in range(span["line_start"], span["line_end"] + 1)} - {None}
        for number in numbers:
            marked += mutants[number - 1]["viable"]
            mutants[number - 1]["viable"] = False
        called = re.search(r"cannot call non-const (?:associated function|function|method) `(.*)` in", error["message"])
        if called and not numbers:
            name = re.sub(r"::<.*>$", "", called[1]).rsplit("::", 1)[-1]
            for mutant in mutants:
                if mutant["const"] and mutant["switchable"] and mutant["function"]["function_name"].rsplit("::", 1)[-1] == name:
                    mutant["switchable"] = False
                    marked += 1
        elif not numbers and error["spans"]:
            say(error["rendered"])
    return marked


def build(work, globs):
    mutants = listed(globs)
    tree = work.copy("tree")
    switch = pathlib.Path(__file__).with_name("mutate_switch.rs").read_text()
    put(tree / "src/switch.rs", switch.replace("COUNT: usize = 0", f"COUNT: usize = {len(mutants) + 1}").encode())
    put(tree / "src/lib.rs", ((ROOT / "src/lib.rs").read_text() + "#[allow(missing_docs)]\npub mod switch;\n").encode())
    while True:
        lines = put_in(tree, mutants)
        ran, messages = work.cargo("tree", "check", "--lib")
        if ran.returncode == 0:
            break
        marked = unviable(messages, lines, mutants)
        if marked == 0:
            sys.exit(f"cargo check fails for a reason of its own:\n{ran.stderr[-3000:]}")
        say(f"{marked} more do not compile or cannot be switched")
    ran, messages = work.cargo("tree", "test", "--no-run", "--lib", "--bins", *[w for name in WIDER for w in ("--test", name)])
    if ran.returncode:
        sys.exit(ran.stderr[-3000:])
    programs = {m["target"]["name"] if m["target"]["kind"] != ["lib"] else "unit": m["executable"] for m in messages
                if m.get("executable") and m["profile"]["test"]}
    work.save("mutants.json", mutants)
    reach(work, {name: program for name, program in programs.items() if name in WIDER or name == "unit"})


def reach(work, programs):
    """Runs every test once, to learn how long it takes and which functions it enters."""
    tests = []
    for kind, program in programs.items():
        names = subprocess.run([program, "--list", "--format=terse"], stdout=subprocess.PIPE, text=True).stdout
        for name in re.findall(r"^(.*): test$", names, re.M):
            command = [program, "--exact", name, "--test-threads=1"]
            tests.append({"name": f"{kind} {name}", "kind": kind, "command": command})
    for seed in range(0, SEEDS, SEEDS_AT_ONCE):
        command = [str(work.folder / "tree-target/debug/pannier"), "simulate", "--seed", str(seed), "--seeds", str(SEEDS_AT_ONCE)]
        tests.append({"name": f"simulate {seed}", "kind": "simulate", "command": command})
    record = work.folder / "reached"
    for test in tests:
        outcome, test["seconds"] = attempt(work, test, {}, 60)
        record.unlink(missing_ok=True)
        attempt(work, test, {"MUTANT_REACHED": str(record)}, 60)
        test["reaches"] = sorted({int(line) for line in record.read_text().split()}) if record.exists() else []
        test["use"] = outcome is None and test["seconds"] <= SLOWEST
        if not test["use"]:
            say(f"left out: {test['name']}: {outcome or 'too slow'} ({test['seconds']:.1f} s)")
    work.save("tests.json", tests)
    say(f"{sum(test['use'] for test in tests)} tests, {sum(test['seconds'] for test in tests):.0f} s")


def attempt(work, test, variables, limit):
    """Runs a test: None, or how it failed; and how long it took."""
    command = ["sh", "-c", f'ulimit -v {MEMORY_KIB} -c 0; exec "$@"', "sh", *test["command"]]
    began = time.monotonic()
    process = subprocess.Popen(command, cwd=work.folder / "tree", env={**ENVIRONMENT, **variables}, start_new_session=True,
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        outcome = "caught" if process.wait(timeout=limit) else None
    except subprocess.TimeoutExpired:
        outcome = "timeout"
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # A server that a test had started must not outlive it.
    process.wait()
    return outcome, time.monotonic() - began


def judge(work, mutant, tests, catchers):
    """Tries the tests that reach a mutant, those first that have caught others of its function, then the quickest."""
    recent = catchers.setdefault(mutant["reach"], [])
    for test in sorted(tests, key=lambda test: (test["kind"] != "unit", test["name"] not in recent, test["seconds"])):
        limit, variables = 3 + 10 * test["seconds"], {"MUTANT": str(mutant["number"])}
        outcome, _ = attempt(work, test, variables, limit)
        if outcome and test["kind"] not in ("unit", "simulate"):  # These know real time: what fails must fail again.
            outcome = attempt(work, test, variables, limit)[0] and outcome
        if outcome:
            recent.append(test["name"])
            return {"outcome": outcome, "by": test["name"], "kind": test["kind"]}
    return {"outcome": "survived" if tests else "not reached"}


def run(work, jobs, only_unit):
    mutants, tests, results = work.load("mutants.json"), work.load("tests.json"), work.load("results.json", {})
    first = {}
    for mutant in mutants:
        if mutant["function"]:
            place = (mutant["file"], json.dumps(mutant["function"]["span"]))
            mutant["reach"] = first.setdefault(place, mutant["number"])
    left = [m for m in mutants if m["viable"] and m["switchable"] and "by" not in results.get(m["key"], {})]
    reaching = {}
    for test in tests:
        for number in test["reaches"] if test["use"] and (test["kind"] == "unit" or not only_unit) else []:
            reaching.setdefault(number, []).append(test)
    catchers, found, began = {}, {}, time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        verdicts = pool.map(lambda m: (m, judge(work, m, reaching.get(m["reach"], []), catchers)), left)
        for done, (mutant, verdict) in enumerate(verdicts, 1):
            found[mutant["key"]] = verdict
            if done % 50 == 0 or done == len(left):
                work.record(found)
                say(f"{done} of {len(left)} after {time.monotonic() - began:.0f} s")


def plain(work):
    """Those that cannot be switched: a build for each, and the unit tests."""
    results, tree = work.load("results.json", {}), work.copy("plain")
    for mutant in work.load("mutants.json"):
        if mutant["switchable"] or "by" in results.get(mutant["key"], {}):
            continue
        path = tree / mutant["file"]
        source = Source(path.read_text())
        start, end = source.range(mutant["span"])
        path.write_text(source.text[:start] + mutant["replacement"] + " " + source.text[end:])
        ran, messages = work.cargo("plain", "test", "--no-run", "--lib", limit=120)
        path.write_text(source.text)
        program = next((m["executable"] for m in messages if m.get("executable") and m["profile"]["test"]), None)
        verdict = {"outcome": "timeout" if ran.returncode == 124 else "unviable", "by": "the compiler", "kind": "plain"}
        if ran.returncode == 0:
            outcome, _ = attempt(work, {"command": [program]}, {}, 120)
            verdict = {"outcome": outcome, "by": "all", "kind": "plain"} if outcome else {"outcome": "survived"}
        work.record({mutant["key"]: verdict})
        say(f"{mutant['name']}: {verdict['outcome']}")


COLUMNS = ["generated", "unviable", "a build each", "unit tests", "wider tests", "timeouts", "survived"]


def report(work, survivors):
    results, table = work.load("results.json", {}), {}
    for mutant in work.load("mutants.json"):
        result = results.get(mutant["key"], {})
        place = "/".join(mutant["file"].split("/")[:2])
        row = table.setdefault(place, dict.fromkeys(COLUMNS, 0))
        row["generated"] += 1
        row["a build each"] += not mutant["switchable"]
        if not mutant["viable"] or result.get("outcome") == "unviable":
            column = "unviable"
        elif "by" not in result:
            column = "survived"
            if survivors:
                print(mutant["number"], mutant["name"], f"({result.get('outcome', 'not tried')})")
        elif result["outcome"] == "timeout":
            column = "timeouts"
        else:
            column = "unit tests" if result["kind"] in ("unit", "plain") else "wider tests"
        row[column] += 1
    table["all"] = {column: sum(row[column] for row in table.values()) for column in COLUMNS}
    print("| | " + " | ".join(COLUMNS) + " |\n|---|" + "---:|" * len(COLUMNS))
    for place, row in table.items():
        print(f"| {place} | " + " | ".join(str(row[column]) for column in COLUMNS) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", help="folder for the copies, what cargo builds, and the results")
    parser.add_argument("what", choices=["build", "run", "plain", "report"])
    parser.add_argument("files", nargs="*", help="build: which files to mutate, as globs")
    parser.add_argument("--jobs", type=int, default=1, help="run: mutants tried at the same time")
    parser.add_argument("--unit", action="store_true", help="run: the unit tests alone")
    parser.add_argument("--survivors", action="store_true", help="report: each by its place")
    options = parser.parse_args()
    work = Work(options.work)
    if options.what == "build":
        build(work, options.files or ["src/**/*.rs"])
    elif options.what == "run":
        run(work, options.jobs, options.unit)
    elif options.what == "plain":
        plain(work)
    else:
        report(work, options.survivors)


if __name__ == "__main__":
    main()
