"""The report as JUnit's XML: a test case for each file."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from pliers_db.annotations import xml_text
from pliers_db.migrate.lint.finding import LintReport
from pliers_db.migrate.lint.formats.text import relative, render_finding


def render_junit(report: LintReport, *, root: Path | None = None) -> str:
    """A file with findings at or above ``fail_on`` is a failure; others stand in its output.

    :param root: paths are written from here.
    """
    files = sorted({*report.examined, *(f.path for f in report.findings)})
    failing = {f.path for f in report.findings if report.fails(f)}
    totals = {"tests": str(len(files)), "failures": str(len(failing)), "errors": "0", "time": "0"}
    suites = ElementTree.Element("testsuites", {"name": "pliers-db migrate lint", **totals})
    suite = ElementTree.SubElement(suites, "testsuite", {"name": "pliers-db migrate lint", **totals, "skipped": "0"})
    for path in files:
        name = relative(path, root)
        attributes = {"name": xml_text(name), "classname": "migrate.lint", "file": xml_text(name), "time": "0"}
        case = ElementTree.SubElement(suite, "testcase", attributes)
        found = [f for f in report.findings if f.path == path]
        if not found:
            continue
        text = xml_text("\n".join(line for f in found for line in render_finding(f, root=root)))
        if path in failing:
            worst = max(found, key=lambda f: f.severity.rank)
            message = xml_text(f"{worst.rule}: {worst.message}")
            kind = {"message": message, "type": worst.severity.value}
            ElementTree.SubElement(case, "failure", kind).text = text
        else:
            ElementTree.SubElement(case, "system-out").text = text
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(suites, encoding="unicode")
