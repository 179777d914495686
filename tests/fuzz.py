"""Runs every property test of the workspace again and again until a time is over: `scripts/fuzz` calls it.

Properties are the tests inside `proptest!` blocks of the crates' sources. Each binary of tests runs those that it has, with new cases
every time, as many as `make test` runs of each. What runs when the time is over is ended, and its round does not count.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent


def properties(crate):
    """Names of the property tests in the sources of a crate."""
    names = set()
    for file in crate.rglob("*.rs"):
        for block in re.split(r"^\s*proptest! \{$", file.read_text(), flags=re.M)[1:]:
            # A block ends with the first brace as far to the left as itself.
            depth = 1
            for line in block.splitlines():
                depth += line.count("{") - line.count("}")
                name = re.match(r"\s*fn (\w+)\(", line)
                if name:
                    names.add(name[1])
                if depth <= 0:
                    break
    return names


def binaries():
    """Of each binary of tests its crate's folder and itself."""
    build = subprocess.run(["cargo", "test", "--locked", "--workspace", "--no-run", "--message-format", "json"], cwd=ROOT,
                           stdout=subprocess.PIPE, check=True, text=True)
    for line in build.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["profile"]["test"]:
            yield pathlib.Path(message["manifest_path"]).parent, message["executable"]


def tests_of(crate, binary):
    """The property tests that a binary has, by their full names."""
    listed = subprocess.run([binary, "--list"], cwd=crate, stdout=subprocess.PIPE, check=True, text=True).stdout
    names = [line.removesuffix(": test") for line in listed.splitlines() if line.endswith(": test")]
    wanted = properties(crate)
    return [name for name in names if name.split("::")[-1] in wanted]


def known(file, code):
    """What was run over the same code before."""
    read = json.loads(file.read_text()) if file.exists() else {}
    return read if read.get("code") == code else {"workload": "fuzz", "code": code, "rounds": 0, "seconds": 0, "failed": []}


def play(suites, until):
    """Run all suites once, as far as there is time; the names that failed, and whether all had their turn."""
    failed = []
    for crate, binary, names in suites:
        try:
            done = subprocess.run([binary, "--exact", *names], cwd=crate, timeout=max(0, until - time.monotonic()),
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        except subprocess.TimeoutExpired:
            return failed, False
        if done.returncode:
            print(done.stdout, file=sys.stderr)
            failed += re.findall(r"^test (\S+) \.\.\. FAILED$", done.stdout, re.M) or [pathlib.Path(binary).name]
    return failed, True


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, required=True)
    parser.add_argument("--results", type=pathlib.Path, required=True)
    parser.add_argument("--code", required=True)
    parser.add_argument("--commit", required=True)
    args = parser.parse_args()
    suites = [(crate, binary, names) for crate, binary in binaries() if (names := tests_of(crate, binary))]
    results = known(args.results, args.code)
    results |= {"commit": args.commit, "properties": sum(len(names) for *_, names in suites)}
    began, until, failures, whole = time.monotonic(), time.monotonic() + args.seconds, 0, True
    before = results["seconds"]
    while whole:
        failed, whole = play(suites, until)
        failures += len(failed)
        results["rounds"] += whole
        results["seconds"] = round(before + time.monotonic() - began)
        results["failed"] += failed
        args.results.write_text(json.dumps(results, indent=1) + "\n")
    print(f"{results['properties']} properties, {results['rounds']} rounds over this code in {results['seconds']} s, "
          f"{failures} failed now", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
