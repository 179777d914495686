"""Plans SQL texts of a grammar by seeds, in processes with limits, until a time is over: `scripts/fuzz-sql` calls it.

The texts, and what plans them, are the engine's test `bounded::plans_in_a_process_of_its_own`. Each process plans a run of seeds and
says when it begins and ends one. It may hold so much memory; a text may take so much processor time, which is counted in the process
itself, so that a busy machine makes no hang. A process that ends otherwise than well has failed at the seed that it had begun.
"""

import argparse
import json
import os
import pathlib
import resource
import select
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TEST = "bounded::plans_in_a_process_of_its_own"
SEEDS_EACH = 500
# Processor time of one text. A server gives up after as long (PLAN_MAX_MS); this is a build without optimisation.
TEXT_MAX_S = 10
MEMORY_MAX_BYTES = 1 << 30
TICKS = os.sysconf("SC_CLK_TCK")


def binary():
    """The engine's integration tests, with the features of the workspace, so that nothing is built twice."""
    build = subprocess.run(["cargo", "test", "--locked", "--workspace", "--no-run", "--message-format", "json"], cwd=ROOT,
                           stdout=subprocess.PIPE, check=True, text=True)
    for line in build.stdout.splitlines():
        message = json.loads(line)
        is_engine = "crates/engine/Cargo.toml" in message.get("manifest_path", "")
        if is_engine and message.get("executable") and message["target"]["name"] == "it":
            return message["executable"]
    sys.exit("fuzz-sql: the engine has no integration tests")


def known(file, code):
    """What was planned of the same code before."""
    read = json.loads(file.read_text()) if file.exists() else {}
    if read.get("code") == code:
        return read
    return {"workload": "fuzz-sql", "code": code, "texts": 0, "taken": 0, "refused": 0, "seconds": 0, "next_seed": 0, "slowest_ms": 0,
            "slowest_seed": 0, "failed": []}


def limited():
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX_BYTES, MEMORY_MAX_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (TEXT_MAX_S * 60, TEXT_MAX_S * 60))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def processor_s(pid):
    """Processor time that a process has had."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


class Run:
    """One process over some seeds."""

    def __init__(self, tests, first, count):
        environment = os.environ | {"FOREBAY_BOUNDED_TEXTS": f"{first} {count}"}
        self.seed, self.began_s, self.why = None, 0.0, ""
        self.first = self.next_seed = first
        self.process = subprocess.Popen([tests, "--exact", TEST, "--nocapture"], cwd=ROOT / "crates" / "engine", env=environment,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=limited)

    def play(self, results, until):
        """Plan until all seeds are planned, one fails, or the time is over; whether it failed."""
        rest = b""
        out = self.process.stdout
        while True:
            ready, _, _ = select.select([out], [], [], 0.5)
            if ready:
                read = os.read(out.fileno(), 1 << 16)
                if not read:
                    break
                *lines, rest = (rest + read).split(b"\n")
                for line in lines:
                    self.note(line.decode(errors="replace"), results)
            if self.seed is not None and processor_s(self.process.pid) - self.began_s > TEXT_MAX_S:
                self.why = f"it takes more than {TEXT_MAX_S} s of processor time"
            if self.why or time.monotonic() > until:
                self.process.kill()
                break
        words = self.process.stderr.read().decode(errors="replace")
        status = self.process.wait()
        if self.why or (status and time.monotonic() <= until):
            self.why = self.why or f"the process ended with {status}: {words.strip()[-500:]}"
        return bool(self.why)

    def note(self, line, results):
        if line.startswith("begins "):
            self.seed, self.began_s = int(line.split()[1]), processor_s(self.process.pid)
        elif line.startswith("ends "):
            name, took_ms, words = line.split("\t", 2)
            self.next_seed, self.seed = int(name.split()[1]) + 1, None
            results["texts"] += 1
            results["taken" if words == "taken" else "refused"] += 1
            if int(took_ms) > results["slowest_ms"]:
                results |= {"slowest_ms": int(took_ms), "slowest_seed": self.next_seed - 1}


def main():
    parser = argparse.ArgumentParser()
    for name in ("--count", "--seconds"):
        parser.add_argument(name, type=int, required=True)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--results", type=pathlib.Path, required=True)
    parser.add_argument("--code", required=True)
    parser.add_argument("--commit", required=True)
    args = parser.parse_args()
    tests = binary()
    results = known(args.results, args.code) | {"commit": args.commit}
    # A seed that is asked for is looked at again and counts for nothing.
    seed, before = results["next_seed"] if args.seed is None else args.seed, results["seconds"]
    began, end, failures = time.monotonic(), seed + args.count, 0
    until = began + args.seconds
    while seed < end and time.monotonic() < until:
        run = Run(tests, seed, min(SEEDS_EACH, end - seed))
        failed = run.play(results, until)
        seed = run.next_seed
        if failed:
            failures += 1
            seed = run.next_seed if run.seed is None else run.seed + 1
            print(f"seed {run.seed}: {run.why}\nagain: scripts/fuzz-sql 1 60 {run.seed}", file=sys.stderr)
            results["failed"].append(run.seed)
        if args.seed is None:
            results |= {"next_seed": seed, "seconds": round(before + time.monotonic() - began)}
            args.results.parent.mkdir(parents=True, exist_ok=True)
            args.results.write_text(json.dumps(results, indent=1) + "\n")
    print(f"fuzz-sql: {results['texts']} texts over this code, {results['taken']} taken; slowest {results['slowest_ms']} ms "
          f"(seed {results['slowest_seed']}); {failures} failed now", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
