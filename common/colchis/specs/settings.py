"""A daemon's settings: a YAML file, flags, or both."""

from collections.abc import Mapping
from pathlib import Path

from colchis.specs.cursor import Cursor, Report
from colchis.specs.files import documents_in, read_text
from colchis.specs.tree import Entry, Value, from_plain

COMMAND_LINE = "<command line>"
"""Where a flag's problem is said to be."""


def settings_in(file: Path | None, flags: Mapping[str, object] | None) -> tuple[Cursor, Report]:
    """What is in the file, with the values of ``flags`` that are not None in their place.

    Whoever reads on notes problems in the report, and checks it at the end. Raises InputError for
    a file that cannot be read at all.
    """
    report = Report(COMMAND_LINE)
    entries: dict[str, Entry] = {}
    at = Cursor(Value(entries), "", report)
    if file is not None:
        text, report.file = read_text(file)
        documents = documents_in(text, report)
        report.check()
        at, *others = documents
        for other in others:
            other.fail("a second document; settings are one")
        if isinstance(at.value.data, dict):
            entries = at.value.data
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    plain = from_plain(given, "", COMMAND_LINE, report.problems)
    if isinstance(plain.data, dict):
        entries.update(plain.data)
    return at, report
