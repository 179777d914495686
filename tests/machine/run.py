"""The differential machine: plays N cases from a seed on, a few processes beside each other, through probe, batch, every k-th one through
a server too, and against the evaluator. Prints the seed of each case that differs, keeps it, made small, below tests/machine/found,
and writes totals. `scripts/fuzz-engine` calls it; `--replay` plays kept cases again.
"""

import argparse
import collections
import dataclasses
import json
import multiprocessing
import pathlib
import sys
import tempfile
import time
import traceback

import compare
import functions
import generate
import printing
import rules
import shrink
import streams
import tree

FOUND = pathlib.Path(__file__).resolve().parent / "found"
# Cases of one server.
SERVED_TOGETHER = 8


@dataclasses.dataclass
class Task:
    """`live` is how many cases share a server; 0 for one case over files."""

    seed: int
    live: int = 0


@dataclasses.dataclass
class Outcome:
    seed: int
    cells: int = 0
    faults: int = 0
    left_out: int = 0
    unsure: int = 0
    cases: int = 0
    live_cells: int = 0
    differences: list = dataclasses.field(default_factory=list)
    kept: str = ""
    # How to play it again.
    again: str = ""


class Machine:
    """How one case is played in a process of its own."""

    def __init__(self, args: argparse.Namespace):
        self.rules = rules.BEFORE if args.before else rules.PROMISED
        self.tame, self.keep, self.tries = args.tame, not args.no_keep, args.shrink
        self.new, self.aggregates = not (args.before or args.old_names), args.aggregates
        self.end = time.monotonic() + args.seconds

    def options(self, prefix: str = "", live: bool = False) -> generate.Options:
        return generate.Options(self.rules, self.tame, self.new, prefix, live, self.aggregates)

    def run(self, task: Task) -> Outcome:
        if time.monotonic() > self.end:
            return Outcome(task.seed)
        with tempfile.TemporaryDirectory(prefix="fuzz-engine-") as folder:
            try:
                return self.served(task, pathlib.Path(folder)) if task.live else self.over_files(task.seed, pathlib.Path(folder))
            except functions.Unsure:
                return Outcome(task.seed, unsure=1)
            except Exception:
                # A defect of the machine is told as a failure of the seed too.
                return Outcome(task.seed, differences=[compare.Difference("machine", "machine", got=traceback.format_exc()[-1500:])])

    def over_files(self, seed: int, folder: pathlib.Path) -> Outcome:
        case = generate.make(seed, self.options())
        played = compare.play(case, folder, self.rules)
        made = Outcome(seed, played.cells, played.faults, played.left_out, cases=1, differences=played.differences)
        if played.differences and self.keep:
            made.kept = self.kept(case, played.differences, folder)
        return made

    def served(self, task: Task, folder: pathlib.Path) -> Outcome:
        cases, made = [], Outcome(task.seed, again=f"--seed {task.seed} --cases {task.live} --live-every 1")
        for number in range(task.live):
            case = generate.make(task.seed + number, self.options(f"c{number}_", True))
            if streams.can_be_put(case):
                cases.append(case)
        for seed, played in streams.play(cases, folder, self.rules, task.seed).items():
            made.cases += 1
            made.live_cells += played.cells
            made.faults += played.faults
            made.differences += [dataclasses.replace(found, where=f"{found.where} of seed {seed}") for found in played.differences]
        return made

    def kept(self, case: tree.Case, differences: list, folder: pathlib.Path) -> str:
        """Write a small case that still differs in the same way."""
        kind = differences[0].kind

        def fails(candidate: tree.Case) -> bool:
            if time.monotonic() > self.end:
                return False
            try:
                found = compare.play(candidate, folder, self.rules).differences
            except Exception:
                # Half a case need not make sense.
                return False
            return any(difference.kind == kind and alike(difference, differences[0]) for difference in found)

        small = shrink.shrunk(case, fails, self.tries)
        found = compare.play(small, folder, self.rules).differences
        return write(small, found or differences)


def alike(left: compare.Difference, right: compare.Difference) -> bool:
    """A refusal must stay the same one, by the words without names and places."""
    if left.kind not in ("refused", "crash"):
        return True
    return left.got.split(":")[-1][:40] == right.got.split(":")[-1][:40]


def write(case: tree.Case, differences: list) -> str:
    """A replayable case: its tree, and its SQL and what differs for people."""
    FOUND.mkdir(exist_ok=True)
    file = FOUND / f"{case.seed}.json"
    told = {"seed": case.seed, "differences": [found.line() for found in differences[:20]], "sql": printing.definitions(case).split("\n"),
            "case": tree.to_json(case)}
    file.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    return str(file.relative_to(FOUND.parents[2]))


def replay(files: list[pathlib.Path], made: Machine) -> int:
    """Play kept cases; how many differ."""
    failed = 0
    for file in files:
        case = tree.from_json(json.loads(file.read_text())["case"])
        with tempfile.TemporaryDirectory(prefix="fuzz-engine-") as folder:
            found = compare.play(case, pathlib.Path(folder), made.rules).differences
        print(f"{file.name}: {compare.summary(found) or 'equal'}")
        for difference in found[:5]:
            print(f"  {difference.line()}")
        failed += bool(found)
    return failed


def tasks(args: argparse.Namespace) -> list[Task]:
    """Of every `live_every` cases `SERVED_TOGETHER` go through a server."""
    made, seed = [], args.seed
    while seed < args.seed + args.cases:
        made.append(Task(seed))
        seed += 1
        if args.live_every and (seed - args.seed) % (args.live_every * SERVED_TOGETHER) == 0:
            made.append(Task(seed - SERVED_TOGETHER, SERVED_TOGETHER))
    return made


class Totals:
    """Counts over a run, written to the results as they grow; a run over the same code adds to the one before."""

    def __init__(self, args: argparse.Namespace):
        self.file, self.began = args.results, time.monotonic()
        known = json.loads(self.file.read_text()) if self.file and self.file.exists() else {}
        same = known.get("code") == args.code
        self.told = known if same else {"workload": "fuzz-engine", "code": args.code, "cases": 0, "cells": 0, "live_cells": 0, "error_cells": 0,
                                        "left_out_rows": 0, "unsure": 0, "differences": 0, "kinds": {}, "failed_seeds": [], "seeds": [], "seconds": 0}
        self.told["commit"] = args.commit
        self.told["seeds"] = [*self.told["seeds"], [args.seed, args.seed + args.cases]]
        self.before = self.told["seconds"]

    def add(self, outcome: Outcome) -> None:
        told = self.told
        for name, more in (("cases", outcome.cases), ("cells", outcome.cells + outcome.live_cells), ("live_cells", outcome.live_cells),
                           ("error_cells", outcome.faults), ("left_out_rows", outcome.left_out), ("unsure", outcome.unsure),
                           ("differences", len(outcome.differences))):
            told[name] += more
        kinds = collections.Counter(told["kinds"])
        kinds.update(found.kind for found in outcome.differences)
        told["kinds"] = dict(kinds.most_common())
        if outcome.differences:
            told["failed_seeds"].append(outcome.seed)

    def write(self) -> None:
        self.told["seconds"] = round(self.before + time.monotonic() - self.began)
        if self.file:
            self.file.write_text(json.dumps(self.told, indent=1) + "\n")

    def line(self) -> str:
        told = self.told
        return (f"{told['cases']} cases, {told['cells']} cells ({told['live_cells']} of them read from servers, {told['error_cells']} errors), "
                f"{told['left_out_rows']} rows left out, {told['differences']} differences in {len(told['failed_seeds'])} cases, {told['seconds']} s")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=int, default=10**9, help="begin no case after so long")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--live-every", type=int, default=10, help="every k-th case goes through a server too; 0 for none")
    parser.add_argument("--results", type=pathlib.Path)
    parser.add_argument("--code", default="")
    parser.add_argument("--commit", default="")
    parser.add_argument("--tame", action="store_true", help="nothing that fails, no odd values")
    parser.add_argument("--before", action="store_true", help="the rules of the engine before own kernels")
    parser.add_argument("--old-names", action="store_true", help="no function and no form of SQL that the registry brought")
    parser.add_argument("--aggregates", action="store_true", help="the aggregates of the registry too: first_value, max_by, corr, ..")
    parser.add_argument("--no-keep", action="store_true", help="keep no failing case")
    parser.add_argument("--shrink", type=int, default=300, help="runs spent on making a failing case small")
    parser.add_argument("--replay", type=pathlib.Path, nargs="*", help="play these kept cases, or all of them")
    return parser.parse_args()


def main() -> int:
    args = arguments()
    machine = Machine(args)
    if args.replay is not None:
        return 1 if replay(args.replay or sorted(FOUND.glob("*.json")), machine) else 0
    totals = Totals(args)
    with multiprocessing.Pool(args.jobs) as pool:
        for number, outcome in enumerate(pool.imap_unordered(machine.run, tasks(args)), 1):
            totals.add(outcome)
            if outcome.differences:
                print(f"seed {outcome.seed}: {compare.summary(outcome.differences)}; {outcome.differences[0].line()[:400]}"
                      f"{f' (kept: {outcome.kept})' if outcome.kept else ''}{f' (again: run.py {outcome.again})' if outcome.again else ''}", flush=True)
            if number % 50 == 0:
                totals.write()
                print(totals.line(), file=sys.stderr, flush=True)
    totals.write()
    print(totals.line())
    return 1 if totals.told["differences"] else 0


if __name__ == "__main__":
    sys.exit(main())
