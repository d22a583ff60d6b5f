"""Audit OCSF: entries of an audit log as OCSF events, held against the published schema.

    tests/audit_ocsf.py DRIVER

The driver writes an entry of each kind. Each event must be valid by the schema of the version that
it names, and by a later one; events with planted faults must not be.
"""

import copy
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

ENTRIES = 200
LATER = "1.8.0"


def main():
    driver = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        run(driver, "append-together", log, ENTRIES)
        key = run(driver, "key", log)[0]
        events = [json.loads(line) for line in run(driver, "export", log, key, "ocsf")[:-1]]
    assert len(events) > ENTRIES, f"{len(events)} events"
    for version in (events[0]["metadata"]["version"], LATER):
        validators = Validators(version)
        for event in events:
            faults = list(validators.faults(event))
            assert not faults, f"{version}: {faults} in {event}"
        classes = sorted(validators.by_class)
        assert classes == [3002, 6003], classes
        print(f"{len(events)} events of classes {classes} are valid by OCSF {version}")
        for fault in (without_api, with_stranger, of_no_activity, without_version):
            planted = copy.deepcopy(next(it for it in events if it["class_uid"] == 6003))
            fault(planted)
            assert list(validators.faults(planted)), f"control: {fault.__name__} is not found"
    print("control: each planted fault is found")


class Validators:
    """A validator for each class of events, of one version of the schema."""

    def __init__(self, version):
        self.schema = OcsfJsonSchemaEmbedded(get_ocsf_schema(version))
        self.by_class = {}

    def faults(self, event):
        number = event["class_uid"]
        if number not in self.by_class:
            name = self.schema.lookup_class_name_from_uid(number)
            self.by_class[number] = Draft202012Validator(self.schema.get_class_schema(name))
        return (fault.message for fault in self.by_class[number].iter_errors(event))


def without_api(event):
    del event["api"]


def with_stranger(event):
    event["resources"][0]["stranger"] = 1


def of_no_activity(event):
    event["activity_id"] = 7


def without_version(event):
    del event["metadata"]["version"]


def run(*command):
    done = subprocess.run(
        [str(word) for word in command], check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout.splitlines()


if __name__ == "__main__":
    main()
