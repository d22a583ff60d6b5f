"""Contract: schemathesis tries every operation, by its schema and against it, one call after another.

The long form: CASES=20000 SCENARIO_SECONDS=3600 python3 tests/peers/run.py peers SOTTO SABOTAGED
"schemathesis finds nothing".
"""

import json
import os
import re
import subprocess
import tempfile
import urllib.request
from pathlib import Path

import checks
import sotto

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "target" / "tools" / "python" / "bin" / "schemathesis"
SCHEMA = ROOT / "tests" / "schema"
SETTINGS = """[media]
timeout_s = 5
[plans.card]
fields = [{ type = "payment-card-number" }]
"""
CASES = int(os.environ.get("CASES", "1200"))
# What is tried of an operation whatever is asked for, and how many operations share the rest.
COVERAGE, OPERATIONS = 900, 32
PATIENCE = 3600


def holds(binary):
    """Nothing in the contract is broken, and no request is a server error."""
    with sotto.Sotto(binary, ports=(10000, 14999), trace=False, settings=SETTINGS) as relay:
        said = try_out(relay, contract(), max(4, (CASES - COVERAGE) // OPERATIONS))
    generated, passed = counts(said)
    checks.expect(generated == passed > COVERAGE, f"cases that passed: {said[-4000:]}")
    checks.figure(
        f"figure: contract: schemathesis, all checks but that of wrong keys, stateful: {passed} cases of {generated} passed, "
        f"0 server errors, 0 schema breaks"
    )


def control(binary):
    """An answer that is not what the contract says is found."""
    with sotto.Sotto(binary, trace=False, settings=SETTINGS) as relay:
        broken = contract()
        plan = broken["components"]["schemas"]["PlanPage"]["properties"]
        plan["data"] = {"type": "string"}
        said = try_out(relay, broken, 4, "--include-path", "/v1/plans")
    checks.expect("Response violates schema" in said, f"the planted fault: {said[-2000:]}")


def contract():
    """The contract as the relay serves it."""
    with urllib.request.urlopen(f"http://{sotto.written(sotto.CONTROL)}/v1/openapi.json") as answer:
        return json.load(answer)


def try_out(relay, schema, examples, *more):
    """Runs schemathesis against a running relay, and returns what it says."""
    keys = relay.keys()
    with tempfile.TemporaryDirectory(prefix="sotto-contract-") as folder:
        file = Path(folder) / "openapi.json"
        file.write_text(json.dumps(schema))
        command = [
            PROGRAM, "--config-file", SCHEMA / "schemathesis.toml", "run", file,
            "--url", f"http://{sotto.written(sotto.CONTROL)}",
            "--header", f"Authorization: Bearer {keys['operator']}",
            "--max-examples", str(examples), "--seed", "1", "--request-timeout", "20", *more,
        ]  # fmt: skip
        done = subprocess.run(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE,
            env=os.environ | {"SCHEMATHESIS_HOOKS": str(SCHEMA / "hooks.py")},
        )
    return done.stdout.decode("utf-8", "replace")


def counts(said):
    """How many cases were made, and how many passed."""
    found = re.search(r"(\d+) generated, (\d+) passed", said)
    return tuple(map(int, found.groups())) if found else (0, -1)
