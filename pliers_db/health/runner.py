"""Runs the checks: opens the session, asks each question, and takes every error for what it is: no answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import psycopg

from pliers_db.config import Settings
from pliers_db.errors import PliersError, ServerError, SessionLost
from pliers_db.health.check import Check, Finding, Judgement, Privilege, Skip
from pliers_db.health.checks import CHECKS
from pliers_db.health.excuse import Excuses, read_baseline
from pliers_db.health.outcome import Level, Outcome
from pliers_db.health.report import Excused, Report, Result
from pliers_db.health.rules import Rules, read_rules
from pliers_db.health.session import LOCK_TIMEOUT, STATEMENT_TIMEOUT, Session, load
from pliers_db.health.situation import ServerFacts, Situation
from pliers_db.log import redact
from pliers_db.units import format_duration

_ORDER = (Level.FAIL, Level.WARN, Level.INFO)
_CONNECT = "connect"


def run_health(
    settings: Settings,
    *,
    only: Collection[str] = (),
    skip: Collection[str] = (),
    since_baseline: bool = False,
    connect_error: PliersError | None = None,
) -> Report:
    """Run the checks on the database of ``settings`` and say what was found.

    It never raises for what it finds, nor for a server that is gone or hangs: that is what the report says.

    :param only: ids of the checks to run; default: all.
    :param skip: ids of checks to leave out; the report names them as skipped.
    :param since_baseline: findings that the baseline has do not count.
    :param connect_error: why there is no server to connect to, where the caller knows already.
    :raises InputError: an unknown check, or settings of ``[tool.pliers-db.health]`` that cannot be used.
    """
    rules = read_rules(settings, CHECKS)
    chosen = rules.choose(CHECKS, only, skip)
    baseline = read_baseline(rules.baseline) if since_baseline else None
    run = _Run(settings, rules, {*skip, *(rules.skip - set(only))}, Excuses(rules.ignores, _today(), baseline))
    return run.report(chosen, connect_error)


class _Run:
    """One run over the checks."""

    def __init__(self, settings: Settings, rules: Rules, left_out: set[str], excuses: Excuses) -> None:
        self.rules = rules
        self.excuses = excuses
        self.left_out = left_out
        self.began = time.monotonic()
        self.deadline = self.began + rules.deadline
        self.situation = Situation(settings, rules, started_at=datetime.now(UTC))

    def report(self, checks: Sequence[Check], connect_error: PliersError | None) -> Report:
        error = connect_error
        session: Session | None = None
        if error is None and any(c.needs_database for c in checks if c.id not in self.left_out):
            try:
                session = self._open()
            except PliersError as failed:
                error = failed
        self.situation = replace(self.situation, error=error)
        try:
            results = tuple(self._results(checks))
        finally:
            if session is not None:
                session.close()
        settings = self.situation.settings
        return Report(
            results=results,
            environment=settings.environment.value,
            target=str(settings.target) if settings.target else "embedded server",
            server=self.situation.facts,
            error=self.situation.error,
            started_at=self.situation.started_at,
            seconds=time.monotonic() - self.began,
        )

    def _open(self) -> Session:
        target = self.situation.settings.target
        assert target is not None
        try:
            session = Session(target, self.deadline)
        except psycopg.Error as error:
            raise self._lost(error) from error
        try:
            row = dict(session.fetch(load("server.facts"))[0])
        except psycopg.Error as error:
            session.close()
            raise self._lost(error) from error
        self.situation = replace(self.situation, session=session, facts=ServerFacts(**row, pooled=session.pooled))
        return session

    def _lost(self, error: psycopg.Error) -> ServerError:
        target = self.situation.settings.target
        if time.monotonic() >= self.deadline:
            return SessionLost(
                f"{target} takes connections but does not answer",
                why=f"Nothing came within {format_duration(self.rules.deadline)}.",
                fix="Look at the server's process, its log and its disks.",
            )
        return SessionLost(
            f"The connection to {target} was lost",
            why=redact(_one_line(error)),
            fix="Look at the server's log, then run it again.",
        )

    def _results(self, checks: Iterable[Check]) -> Iterable[Result]:
        for check in checks:
            began = time.monotonic()
            result = self._result(check)
            yield replace(result, seconds=time.monotonic() - began)

    def _result(self, check: Check) -> Result:
        """How a check ends; nothing it does gets past here."""
        if check.id in self.left_out:
            return Result(check, Outcome.SKIPPED, "left out by --skip or the project's settings")
        if check.needs_database and check.id != _CONNECT and (reason := self._no_way(check)):
            return Result(check, Outcome.SKIPPED, reason)
        try:
            return _settle(check, check.judge(self._facts(check), self.situation), self.excuses)
        except Skip as skip:
            return Result(check, Outcome.SKIPPED, str(skip))
        except psycopg.Error as error:
            return Result(check, Outcome.UNKNOWN, self._explain(error))
        except PliersError as error:
            why = f": {_one_line(error.why)}" if error.why else ""
            return Result(check, Outcome.UNKNOWN, redact(f"{error.message}{why}"), hint=error.fix)
        except Exception as error:  # noqa: BLE001 - a bug in one check must not take the others' answers away
            return Result(check, Outcome.UNKNOWN, redact(f"a bug in this check: {type(error).__name__}: {error}"))

    def _no_way(self, check: Check) -> str:
        """Why a check cannot run; empty if it can."""
        if self.situation.facts is None:
            return "no connection"
        if self.situation.session is not None and self.situation.session.broken:
            return "the connection was lost before" if self.situation.error is None else self.situation.error.message
        if not self.situation.facts.allows(check.needs):
            role = self.situation.facts.role
            grant = {
                Privilege.MONITOR: f"grant pg_monitor to {role};",
                Privilege.HBA: f"grant execute on function pg_hba_file_rules() to {role}; "
                f"grant select on pg_hba_file_rules to {role};",
            }[check.needs]
            return f"{role} does not see it: {grant}"
        return ""

    def _facts(self, check: Check) -> Any:
        if check.probe is None:
            assert self.situation.session is not None
            return self.situation.session.fetch(load(check.sql, self.situation.server.version_num))
        return self._aside(check)

    def _aside(self, check: Check) -> Any:
        """Call a probe in a thread of its own: what it calls may wait longer than we may."""
        assert check.probe is not None
        answer: list[Any] = []
        failed: list[BaseException] = []

        def call() -> None:
            try:
                answer.append(check.probe(self.situation))  # type: ignore[misc]
            except BaseException as error:  # noqa: BLE001 - raised again below, in the thread that judges
                failed.append(error)

        thread = threading.Thread(target=call, daemon=True, name=f"health {check.id}")
        thread.start()
        thread.join(max(0.05, self.deadline - time.monotonic()))
        if failed:
            raise failed[0]
        if not answer:
            raise SessionLost("no answer", why=f"the run's limit of {format_duration(self.rules.deadline)} was reached")
        return answer[0]

    def _explain(self, error: psycopg.Error) -> str:
        session = self.situation.session
        if session is not None and (session.expired or session.broken):
            lost = self._lost(error)
            self.situation = replace(self.situation, error=lost)
            return f"{lost.message}: {lost.why}"
        if error.sqlstate == "55P03":
            return f"another session holds a lock; gave up after {format_duration(LOCK_TIMEOUT)} (lock_timeout)"
        if error.sqlstate == "57014":
            return f"no answer within {format_duration(STATEMENT_TIMEOUT)} (statement_timeout)"
        return redact(f"{_one_line(error)} (SQLSTATE {error.sqlstate})")


def _settle(check: Check, judgement: Judgement, excuses: Excuses) -> Result:
    """The outcome that the findings come to, the worst first, without those that are excused."""
    counted: list[Finding] = []
    excused: list[Excused] = []
    for finding in judgement.findings:
        finding_id = f"{check.id}:{finding.about}"
        if reason := excuses.why(finding_id, finding.level):
            excused.append(Excused(finding, reason))
        elif lapsed := excuses.lapsed(finding_id):
            counted.append(replace(finding, message=f"{finding.message} (ignored until {lapsed.until}, which is past)"))
        else:
            counted.append(finding)
    counted.sort(key=lambda f: _ORDER.index(f.level))
    outcome = counted[0].level.outcome if counted else Outcome.OK
    summary = judgement.summary
    if outcome is not Outcome.OK:
        more = len([f for f in counted if f.level is not Level.INFO]) - 1
        summary = counted[0].message + (f" (and {more} more)" if more else "")
    elif not summary and excused:
        summary = excused[0].finding.message
    elif not summary and counted:
        summary = counted[0].message
    return Result(
        check,
        outcome,
        summary,
        tuple(counted),
        tuple(judgement.measures),
        judgement.examined,
        excused=tuple(excused),
    )


def _today() -> date:
    return datetime.now(UTC).date()


def _one_line(error: object) -> str:
    return " ".join(str(error).split())
