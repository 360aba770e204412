"""The catalogue of rules: ours, and squawk's with what squawk does not say.

Each rule says why it is there. What is dangerous in a particular statement, and the safe way to write that statement,
is said by the check.
"""

from __future__ import annotations

from dataclasses import dataclass

from pliers_db.migrate.lint.finding import Severity

PAGE = "docs/safe-migrations.md"
_E, _W, _N = Severity.ERROR, Severity.WARNING, Severity.NOTICE


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule."""

    id: str
    title: str
    severity: Severity
    why: str
    off: bool = False
    """Whether it is silent until a project asks for it."""

    @property
    def ours(self) -> bool:
        """Whether pliers-db checks it itself."""
        return self.id.startswith("PL")

    @property
    def docs(self) -> str:
        """Where to read on."""
        return f"{PAGE}#{self.id.lower()}" if self.ours else f"https://squawkhq.com/docs/{self.id}"


OURS = (
    # ── the file ────────────────────────────────────────────────────────────────────────────────────────────
    Rule(
        "PL001", "directive that does not count", _E, "yoyo passes over a directive that it does not know in silence."
    ),
    Rule("PL002", "ignore without a reason", _W, "Nobody can tell later whether the reason still holds."),
    Rule("PL003", "ignore that ignores nothing", _N, "It would hide the next finding at this place."),
    Rule(
        "PL004", "stray file", _E, "A file whose name has no number has no place in the order; `up` refuses the folder."
    ),
    Rule("PL005", "two migrations of one number", _E, "Two databases may have run them in different orders."),
    Rule("PL006", "unreadable file", _E, "Migrations are read as UTF-8."),
    Rule(
        "PL007",
        "dependency that cannot be met",
        _E,
        "No order of the migrations satisfies it; `up` refuses the folder.",
    ),
    Rule("PL008", "numbers of different width", _W, "Stock yoyo sorts by name: 10_x stands before 9_x."),
    Rule("PL010", "empty migration", _E, "It would be recorded as applied and never run again."),
    Rule("PL011", "syntax error", _E, "PostgreSQL's own parser does not understand it."),
    Rule("PL012", "cannot run in a transaction", _E, "PostgreSQL refuses it inside the transaction of the migration."),
    Rule("PL013", "transaction control", _E, "The migration and its record must stand or fall together."),
    Rule(
        "PL014",
        "COPY from or to the client",
        _E,
        "Its data would have to come from the client, and a migration has none.",
    ),
    Rule(
        "PL015", "psql command", _E, "Migrations are sent to the server, which does not know psql's backslash commands."
    ),
    Rule(
        "PL016", "timeout turned off", _W, "One statement that waits for a lock holds up everybody who comes after it."
    ),
    # ── the rollback file ───────────────────────────────────────────────────────────────────────────────────
    Rule("PL020", "no rollback file", _W, "`down` refuses it: the way back is a backup."),
    Rule("PL021", "empty rollback file", _E, "Stock yoyo would call it rolled back, and the next `up` would fail."),
    Rule("PL022", "rollback in the wrong order", _E, "PostgreSQL refuses to drop what something else still stands on."),
    Rule("PL023", "rollback that leaves something behind", _W, "After `down`, the next `up` fails: it exists already."),
    Rule("PL024", "rollback file of no migration", _W, "It undoes nothing, or its migration was renamed."),
    # ── locks ───────────────────────────────────────────────────────────────────────────────────────────────
    Rule(
        "PL030",
        "several tables locked in one transaction",
        _W,
        "It holds the first table while it waits for the next: everybody who uses the first waits along, and a session "
        "that takes the two in the other order makes a deadlock.",
    ),
    Rule(
        "PL031",
        "long work while a table is locked",
        _W,
        "A lock is held until the transaction ends: nobody reads the table while this statement works.",
    ),
    Rule(
        "PL032",
        "every row changed in one statement",
        _W,
        "It locks every row until it commits, doubles the table on disk and makes replicas lag.",
    ),
    Rule(
        "PL033",
        "enum value used in the transaction that adds it",
        _E,
        "PostgreSQL lets a new value be used only once it is committed (unsafe use of new value).",
    ),
    Rule(
        "PL034",
        "table rewritten",
        _W,
        "The table is copied under ACCESS EXCLUSIVE: no reads, no writes, twice the disk.",
    ),
    Rule("PL035", "materialized view refreshed under a lock", _W, "Readers of the view wait until it is built anew."),
    Rule("PL036", "explicit table lock", _W, "It holds up everybody else until the migration ends."),
    Rule(
        "PL037",
        "partition attached with a scan",
        _W,
        "Without a CHECK that implies its bounds the new partition is read from end to end under ACCESS EXCLUSIVE.",
    ),
    Rule(
        "PL038",
        "index on a partitioned table",
        _W,
        "It locks every partition against writes at once, and CONCURRENTLY is refused on a partitioned table.",
    ),
    Rule(
        "PL039",
        "concurrent index that cannot be recognised",
        _W,
        "An interrupted CONCURRENTLY leaves an INVALID index, which only its name can find again.",
    ),
    Rule(
        "PL046",
        "new column with a CHECK",
        _W,
        "The whole table is read under ACCESS EXCLUSIVE to look at a column in which every row is the same.",
    ),
    Rule(
        "PL047",
        "exclusion constraint on a table with rows",
        _W,
        "Its index is built under ACCESS EXCLUSIVE, and PostgreSQL has no concurrent way to do it.",
    ),
    # ── the schema ──────────────────────────────────────────────────────────────────────────────────────────
    Rule(
        "PL040",
        "foreign key without an index",
        _W,
        "Each DELETE or change of key in the other table reads this one from end to end.",
    ),
    Rule(
        "PL041", "table without a primary key", _W, "Logical replication refuses its updates; no tool can name a row."
    ),
    Rule("PL042", "json column", _W, "json has no equality: SELECT DISTINCT, GROUP BY and UNION fail on it."),
    Rule(
        "PL043", "CASCADE", _W, "It drops what hangs on it, and nobody reads a list first; the rollback cannot know it."
    ),
    Rule(
        "PL044",
        "SECURITY DEFINER without search_path",
        _W,
        "Who calls it can put a schema first whose functions then run with its owner's rights.",
    ),
    Rule(
        "PL045", "triggers turned off", _W, "Foreign keys are triggers: what is written meanwhile is not checked, ever."
    ),
    # ── pgvector ────────────────────────────────────────────────────────────────────────────────────────────
    Rule(
        "PL050",
        "vector index without memory to build it",
        _W,
        "A graph that does not fit into maintenance_work_mem (64 MB by default) is built many times slower.",
    ),
    Rule("PL051", "IVFFlat index on an empty table", _W, "Its lists are learned from the rows that are there: none."),
    Rule(
        "PL052",
        "vector column without dimensions",
        _E,
        "pgvector indexes only vector(N): column does not have dimensions.",
    ),
)

_LOCK_SCAN = "ACCESS EXCLUSIVE is held while the whole table is read."
_CLIENTS = "Versions of the application that still use it fail at once, and its data are gone."
_GUARD = "What the old version of the application writes meanwhile may break it."
SQUAWK = (
    Rule(
        "adding-field-with-default",
        "column with a volatile default",
        _W,
        "Each row gets a value of its own: a rewrite.",
    ),
    Rule(
        "adding-foreign-key-constraint", "foreign key with a scan", _W, "Both tables refuse writes while it is checked."
    ),
    Rule("adding-not-nullable-field", "SET NOT NULL with a scan", _W, _LOCK_SCAN),
    Rule("adding-required-field", "required column", _W, "It fails on a table that has rows, and breaks old INSERTs."),
    Rule(
        "adding-serial-primary-key-field", "primary key with an index build", _W, "The index is built under the lock."
    ),
    Rule(
        "ban-alter-domain-with-add-constraint",
        "constraint on a domain",
        _W,
        "Every table that uses it is read, locked.",
    ),
    Rule("ban-char-field", "char(n)", _N, "Pads with blanks."),
    Rule("ban-create-domain-with-constraint", "domain with a constraint", _N, "It cannot be changed online later."),
    Rule("ban-drop-column", "column dropped", _W, _CLIENTS),
    Rule("ban-drop-constraint", "constraint dropped", _N, "What it forbade can be written from now on."),
    Rule("ban-drop-database", "database dropped", _E, "A migration never needs it."),
    Rule("ban-drop-default", "default dropped", _N, "An INSERT that leaves the column out gets null, or fails."),
    Rule("ban-drop-domain", "domain dropped", _W, _CLIENTS),
    Rule("ban-drop-extension", "extension dropped", _W, "Its types and functions go with it."),
    Rule("ban-drop-function", "function dropped", _W, "Versions of the application that still call it fail at once."),
    Rule("ban-drop-generated-expression", "generated column made plain", _W, "It is not kept up to date any more."),
    Rule("ban-drop-not-null", "NOT NULL dropped", _N, "Clients may meet nulls that they do not expect."),
    Rule("ban-drop-schema", "schema dropped", _W, _CLIENTS),
    Rule("ban-drop-sequence", "sequence dropped", _W, _CLIENTS),
    Rule("ban-drop-table", "table dropped", _W, _CLIENTS),
    Rule("ban-drop-trigger", "trigger dropped", _N, "What it kept true is not kept true any more."),
    Rule("ban-drop-type", "type dropped", _W, _CLIENTS),
    Rule("ban-drop-view", "view dropped", _W, "Versions of the application that still read it fail at once."),
    Rule("ban-duplicate-column-assignments", "column assigned twice", _E, "PostgreSQL refuses it."),
    Rule("ban-truncate-cascade", "TRUNCATE … CASCADE", _W, "It empties every table that refers to it, too."),
    Rule(
        "changing-column-type",
        "type of a column changed",
        _W,
        "The table is rewritten, or at least read, under the lock.",
    ),
    Rule("constraint-missing-not-valid", "constraint checked at once", _W, _LOCK_SCAN),
    Rule(
        "disallowed-unique-constraint",
        "unique constraint with an index build",
        _W,
        "The index is built under the lock.",
    ),
    Rule("identifier-too-long", "name longer than 63 bytes", _W, "PostgreSQL cuts it in silence."),
    Rule("prefer-bigint-over-int", "32-bit integer", _N, "A key or counter that runs out stops the application."),
    Rule("prefer-bigint-over-smallint", "16-bit integer", _N, "A key or counter that runs out stops the application."),
    Rule("prefer-identity", "serial", _N, "The sequence has an owner and rights of its own to look after."),
    Rule("prefer-text-field", "varchar(n)", _N, "To make it shorter later rewrites the table."),
    Rule("prefer-timestamp-tz", "timestamp without time zone", _N, "Two moments an hour apart may be stored as one."),
    Rule("renaming-column", "column renamed", _W, "Versions of the application that use the old name fail at once."),
    Rule("renaming-table", "table renamed", _W, "Versions of the application that use the old name fail at once."),
    Rule("require-concurrent-index-creation", "index built under a lock", _W, "Writes wait until the index is built."),
    Rule(
        "require-concurrent-index-deletion", "index dropped under a lock", _W, "It waits for every query of the table."
    ),
    Rule("require-concurrent-partition-detach", "partition detached under a lock", _W, "Reads and writes wait."),
    Rule("require-concurrent-reindex", "index rebuilt under a lock", _W, "Writes, and reads by that index, wait."),
    Rule("require-enum-value-ordering", "enum value without a place", _N, "It sorts last, which is seldom meant."),
    Rule("syntax-error", "squawk cannot read it", _W, "What squawk does not understand it has not checked."),
    # ── silent until a project asks for them, as in squawk ──────────────────────────────────────────────────
    *(
        Rule(name, name.replace("-", " "), _W, _GUARD, off=True)
        for name in (
            "ban-add-column",
            "ban-add-composite-attribute",
            "ban-add-enum-value",
            "ban-alter-database-options",
            "ban-alter-extension",
            "ban-alter-function-options",
            "ban-alter-generated-expression",
            "ban-alter-identity",
            "ban-alter-policy-condition",
            "ban-alter-policy-roles",
            "ban-alter-role-options",
            "ban-alter-row-level-security",
            "ban-alter-sequence-values",
            "ban-alter-system-options",
            "ban-alter-view-options",
            "ban-create-policy",
            "ban-detach-inheritance",
            "ban-disable-trigger",
            "ban-drop-index",
            "ban-drop-policy",
            "ban-new-write-restriction",
            "ban-replace-view-function",
            "ban-replica-identity",
            "ban-revoke",
            "ban-set-default",
            "ban-set-schema",
            "prefer-repack",
            "renaming-object",
            "require-table-schema",
        )
    ),
)

NOT_HERE = {
    "ban-concurrent-index-creation-in-transaction": "PL012",
    "ban-uncommitted-transaction": "PL013",
    "transaction-nesting": "PL013",
    "unused-ignore": "PL003",
    "prefer-robust-stmts": "",
    "require-lock-timeout": "",
    "require-statement-timeout": "",
    "require-timeout-settings": "",
}
"""Rules of squawk's that are not asked for, with the rule of ours that stands for each. Of the others `up` takes care:
it sets both timeouts, and a migration that fails goes on where it was or is as before, so it need not be repeatable."""

RULES = {rule.id: rule for rule in (*OURS, *SQUAWK)}
