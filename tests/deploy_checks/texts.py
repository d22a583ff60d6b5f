"""Texts: what the documents beside the files name has to be there."""

import re

from checks import ROOT, equal, expect, tool
from figures import alert_names

# OWASP ASVS 5.0.0: how many requirements each section has, of the chapters that are answered here.
SECTIONS = {
    "4.1": 5, "4.2": 5, "4.3": 2, "4.4": 4,
    "6.1": 3, "6.2": 12, "6.3": 8, "6.4": 6, "6.5": 8, "6.6": 4, "6.7": 2, "6.8": 4,
    "13.1": 4, "13.2": 6, "13.3": 4, "13.4": 7,
    "16.1": 1, "16.2": 5, "16.3": 4, "16.4": 3, "16.5": 4,
    "17.1": 2, "17.2": 8, "17.3": 2,
}  # fmt: skip
ANSWERS = {"met", "partly met", "not met", "not applicable"}
# PCI DSS 4.0.1: the principal requirements, all of which have a row.
PRINCIPAL = 12


def runbook(deploy):
    """Each alert, and nothing else, has a section: its meaning, what to look at, what to do."""
    text = (deploy / "runbook.md").read_text()
    sections = re.split(r"^### ", text, flags=re.M)[1:]
    names = [section.splitlines()[0] for section in sections]
    equal(sorted(names), sorted(alert_names(deploy)), "alerts with a section")
    for name, section in zip(names, sections):
        for part in ("**Means**", "**Look**", "**Do**"):
            expect(part in section, f"{name} says nothing under {part}")


def asvs(deploy):
    """Every requirement has one row and an answer; what is met names a test that there is."""
    rows = _rows(deploy / "asvs.md", r"\d+\.\d+\.\d+")
    wanted = [f"{part}.{at + 1}" for part, count in SECTIONS.items() for at in range(count)]
    equal([row[0] for row in rows], wanted, "requirements")
    tests = _tests()
    for number, answer, _, named in rows:
        expect(answer in ANSWERS, f"{number} is answered {answer!r}")
        found = re.findall(r"`([^`]+)`", named)
        for name in found:
            expect(name in tests, f"{number} names a test that is not there: {name}")
        expect(
            found or answer not in ("met", "partly met"),
            f"{number} is {answer}, and no test says so",
        )
    counts = {answer: sum(row[1] == answer for row in rows) for answer in ANSWERS}
    text = (deploy / "asvs.md").read_text()
    for answer, count in counts.items():
        expect(re.search(rf"^\| {answer} \| {count} \|$", text, re.M), f"{count} are {answer}")


def responsibilities(deploy):
    """Every principal requirement has a row, and every row says who does what."""
    rows = _rows(deploy / "pci-responsibility-matrix.md", r"\d+(?:\.\d+)*")
    principal = {int(row[0].split(".")[0]) for row in rows}
    equal(principal, set(range(1, PRINCIPAL + 1)), "principal requirements with a row")
    for row in rows:
        expect(len(row) == 4 and all(row), f"{row[0]} leaves somebody out: {row}")


def links(deploy):
    """What a document links to, or names as a file of this folder, is there."""
    for page in sorted(deploy.rglob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target:
                found = (page.parent / target).exists() or _beside(deploy, page, target).exists()
                expect(found, f"{page.relative_to(deploy)} links to {target}")


def _beside(deploy, page, target):
    """Where a link leads in the project, as a check may look at a copy of the folder."""
    return ROOT / "deploy" / page.parent.relative_to(deploy) / target


def _rows(path, number):
    """Cells of the table rows that begin with a number."""
    rows = []
    for line in path.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and re.fullmatch(number, cells[0]):
            rows.append(cells)
    return rows


def _tests():
    """Names of all tests: Rust's as the code has them, scenarios as their tables have them."""
    names = set()
    for path in tool("git", "ls-files", "*.rs", cwd=ROOT).splitlines():
        text = (ROOT / path).read_text()
        for found in re.finditer(
            r"#\[(?:tokio::)?test\b[^\n]*\]\s*(?:#\[[^\n]*\]\s*)*(?:async )?fn (\w+)", text
        ):
            names.add(found[1])
        # Properties, whose attribute stands within a macro.
        names |= set(re.findall(r"#\[test\]\s*fn (\w+)\(", text))
    scenarios = (ROOT / "tests/peers/run.py").read_text() + (
        ROOT / "tests/deploy_checks/run.py"
    ).read_text()
    names |= set(re.findall(r'^\s*f?"([^"\n]+)":', scenarios, re.M))
    names |= set(re.findall(r'^\s*\("([^"\n]+)",', scenarios, re.M))
    return names
