"""Runs every check of deploy/, then plants faults that each has to find.

usage: run.py SOTTO [WORD...]; only checks whose name has one of the words, if any is said

Needs root and a network namespace of its own: tests/peers/netns.sh.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import backup
import cluster
import container
import figures
import firewall
import planted
import proxies
import texts
import units
from checks import ROOT, Failure
from relay import Image

DEPLOY = ROOT / "deploy"


def table(program, image, work):
    """All checks, each of a folder that is deploy/ or a copy of it."""
    return {
        "the Dockerfile is sound": container.dockerfile,
        "the build gets what it needs and no key": lambda deploy: container.context(deploy, work),
        "the compose file is as its specification has it, and hardened": container.compose,
        "the image's relay starts on a read-only root, as nobody": lambda deploy: container.runs(
            deploy, image, work
        ),
        "systemd finds no fault with the service": lambda deploy: units.verified(
            deploy, work, program
        ),
        "the service is handed its secrets": lambda deploy: units.handed_over(deploy, work),
        "the exposure that systemd finds is as stated": lambda deploy: units.exposure(
            deploy, work, program
        ),
        "a relay's system calls pass the service's filter": lambda deploy: units.system_calls(
            deploy, work, program
        ),
        "Kubernetes takes the objects": cluster.valid,
        "the pods are confined, and end when the relay has": cluster.confined,
        "a relay starts as the pod has it": lambda deploy: cluster.runs(deploy, image, work),
        "nginx takes its file": lambda deploy: proxies.nginx_reads(deploy, work),
        "Caddy takes its files": lambda deploy: proxies.caddy_reads(deploy, work),
        "a relay behind nginx": lambda deploy: proxies.nginx_serves(deploy, image, work),
        "a relay behind Caddy": lambda deploy: proxies.caddy_serves(deploy, image, work),
        "nft takes the rules": firewall.read,
        "the firewall lets in whom it should": firewall.at_work,
        "ufw knows the profiles": lambda deploy: firewall.profiles(deploy, work),
        "promtool takes the alerts, each of which is tested": figures.rules,
        "the dashboard is one": lambda deploy: figures.dashboard(deploy, work),
        "a relay serves every figure that is named": lambda deploy: figures.served(
            deploy, image, work
        ),
        "every alert is in the runbook": texts.runbook,
        "every requirement of ASVS is answered, by tests that there are": texts.asvs,
        "every requirement of PCI DSS has a row": texts.responsibilities,
        "what a text links to is there": texts.links,
        "a recorded call comes back from a backup": lambda deploy: backup.restored(
            deploy, image, work
        ),
    }


def main():
    given, words = Path(sys.argv[1]).resolve(), sys.argv[2:]
    passed = failed = 0
    # Nobody, whom relays run as, has to pass through it, which a TMPDIR need not allow.
    with tempfile.TemporaryDirectory(prefix="sotto-deploy-", dir="/tmp") as folder:
        work = Path(folder)
        work.chmod(0o711)
        program = work / "sotto"
        shutil.copy(given, program)
        checks = table(program, Image(work / "image", program), work)
        if set(checks) != set(planted.FAULTS):
            sys.exit(f"checks without faults: {set(checks) ^ set(planted.FAULTS)}")
        for name, check in checks.items():
            if not words or any(word in name for word in words):
                good = judged(name, check, work)
                passed, failed = passed + good, failed + (not good)
    print(f"deploy: {passed} passed, {failed} failed")
    sys.exit(failed > 0 or passed == 0)


def judged(name, check, work):
    """Whether a check holds, and finds what is planted."""
    began = time.monotonic()
    try:
        check(DEPLOY)
        count = planted.seen(name, check, DEPLOY, work)
    except (Failure, OSError, subprocess.SubprocessError, LookupError, ValueError) as wrong:
        print(f"{name}: FAILED: {type(wrong).__name__}: {wrong}", flush=True)
        return False
    took = time.monotonic() - began
    print(f"{name}: ok, {count} planted faults found, {took:.1f} s", flush=True)
    return True


if __name__ == "__main__":
    main()
