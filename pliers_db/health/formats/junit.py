"""The report as JUnit's XML, in the dialect that Jenkins' schema describes and GitLab, Azure and others read."""

from __future__ import annotations

from collections.abc import Collection
from xml.etree import ElementTree

from pliers_db.annotations import xml_text
from pliers_db.health.outcome import Outcome
from pliers_db.health.report import Report, Result


def render_junit(report: Report, fail_on: Collection[Outcome] = ()) -> str:
    """A test case for each check: ``fail`` is a failure, ``unknown`` an error, a warning is in its output.

    :param fail_on: what is a failure beside ``fail``.
    """
    failing = {Outcome.FAIL, *fail_on}
    counts = report.counts
    totals = {
        "tests": str(len(report.results)),
        "failures": str(sum(counts[o] for o in failing if o is not Outcome.UNKNOWN)),
        "errors": str(counts[Outcome.UNKNOWN]),
        "time": f"{report.seconds:.3f}",
    }
    suites = ElementTree.Element("testsuites", {"name": "pliers-db health", **totals})
    suite = ElementTree.SubElement(
        suites,
        "testsuite",
        {
            "name": "pliers-db health",
            **totals,
            "skipped": str(counts[Outcome.SKIPPED]),
            "timestamp": report.started_at.strftime("%Y-%m-%dT%H:%M:%S"),
        },
    )
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in (("target", report.target), ("environment", report.environment)):
        ElementTree.SubElement(properties, "property", {"name": name, "value": value})
    for result in report.results:
        case = ElementTree.SubElement(
            suite,
            "testcase",
            {
                "name": result.check.id,
                "classname": f"health.{result.check.group}",
                "time": f"{result.seconds:.3f}",
            },
        )
        _ending(case, result, failing)
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(suites, encoding="unicode")


def _ending(case: ElementTree.Element, result: Result, failing: Collection[Outcome]) -> None:
    message = xml_text(result.summary)
    if result.outcome is Outcome.SKIPPED:
        ElementTree.SubElement(case, "skipped", {"message": message})
    elif result.outcome is Outcome.UNKNOWN:
        ElementTree.SubElement(case, "error", {"message": message, "type": "unknown"}).text = _details(result)
    elif result.outcome in failing:
        kind = {"message": message, "type": result.outcome.value}
        ElementTree.SubElement(case, "failure", kind).text = _details(result)
    else:
        ElementTree.SubElement(case, "system-out").text = message + (
            f"\n{_details(result)}" if result.outcome is Outcome.WARN else ""
        )


def _details(result: Result) -> str:
    lines = [f"{f.level}: {f.message}\n  fix: {f.fix or result.check.fix}" for f in result.findings]
    return xml_text("\n".join([*lines, result.check.docs]))
