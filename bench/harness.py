"""The one harness of all benchmarks: runs a workload, prints its table, writes its results file.

A workload is bench/workloads/NAME.py with PARTS, a name and a function `part(bench, folder)` each, run in that order over one
scratch folder. A part calls bench.figure(system, name, value, unit) for what it measured (us, peers and floors alike) and
bench.goal(name, goal, value, unit, met) for every goal asked of it. Each part is written when it ends, with its commit, so that
a long workload may be measured over several runs; the others stay in the file as they were.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]


def output(*command):
    try:
        return subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def machine():
    info = pathlib.Path("/proc/cpuinfo").read_text()
    model = next((line.split(":")[1].strip() for line in info.splitlines() if line.startswith("model name")), "?")
    memory_kib = int(pathlib.Path("/proc/meminfo").read_text().split()[1])
    return {"cpu": model, "cores": os.cpu_count(), "memory_gib": round(memory_kib / 2**20, 1), "kernel": platform.release()}


def kafka_version():
    pom = (ROOT / "scripts" / "java" / "pom.xml").read_text()
    return pom.split("<kafka.version>")[1].split("</kafka.version>")[0]


class Bench:
    """What the parts of a workload report to."""

    def __init__(self, workload, quick):
        self.quick = quick
        self.path = ROOT / "bench" / "results" / (workload + (".quick" if quick else "") + ".json")
        self.figures, self.goals, self.missed = [], [], []
        self.binary = os.environ["FOREBAY_BIN"]
        self.examples = pathlib.Path(os.environ["FOREBAY_EXAMPLES"])
        self.kafka = os.environ["FOREBAY_TEST_KAFKA"]

    def figure(self, system, name, value, unit):
        self.figures.append({"system": system, "name": name, "value": value, "unit": unit})
        print(f"  {system:<22} {name:<50} {value:>14,.3f} {unit}", flush=True)

    def goal(self, name, goal, value, unit, met):
        self.goals.append({"name": name, "goal": goal, "value": value, "unit": unit, "met": bool(met)})

    def run(self, name, part):
        """One part, from its first figure to its place in the results file."""
        self.figures, self.goals = [], []
        print(f"\n{name}", flush=True)
        with tempfile.TemporaryDirectory(prefix="forebay-bench-") as folder:
            part(self, pathlib.Path(folder))
        for goal in self.goals:
            print(f"  {'met ' if goal['met'] else 'MISS'}  {goal['name']:<50} goal {goal['goal']:>12,} "
                  f"got {goal['value']:>14,.1f} {goal['unit']}")
        self.missed += [f"{name}: {goal['name']}" for goal in self.goals if not goal["met"]]
        parts = json.loads(self.path.read_text())["parts"] if self.path.exists() else {}
        parts[name] = {**self.ran(), "figures": self.figures, "goals": self.goals}
        self.path.parent.mkdir(exist_ok=True)
        self.path.write_text(json.dumps({"quick": self.quick, "parts": parts}, indent=2) + "\n")
        print(f"  written to {self.path.relative_to(ROOT)}", flush=True)

    def ran(self):
        """What was run where."""
        return {
            "commit": output("git", "rev-parse", "HEAD"),
            "uncommitted_changes": bool(output("git", "status", "--porcelain", "--", ".", ":!bench/results")),
            "profile": os.environ["FOREBAY_BENCH_PROFILE"],
            "machine": machine(),
            "versions": {
                "forebay": output(self.binary, "--version"),
                "rustc": output("rustc", "--version"),
                "kafka": kafka_version(),
                "java": (subprocess.run(["java", "-version"], capture_output=True, text=True).stderr.splitlines() or ["?"])[0],
            },
        }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("workload")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--part", action="append", help="this part alone; may be given again")
    args = parser.parse_args()
    path = ROOT / "bench" / "workloads" / f"{args.workload}.py"
    spec = importlib.util.spec_from_file_location(args.workload, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if unknown := set(args.part or []) - set(module.PARTS):
        parser.error(f"{args.workload} has no part {', '.join(sorted(unknown))}; there are: {', '.join(module.PARTS)}")
    bench = Bench(args.workload, args.quick)
    for name, part in module.PARTS.items():
        if not args.part or name in args.part:
            bench.run(name, part)
    # A month of flights is too short for the goals.
    if bench.missed and not args.quick:
        sys.exit("bench: goals missed: " + "; ".join(bench.missed))


if __name__ == "__main__":
    main()
