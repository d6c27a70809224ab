"""A sorted table in memory, the content of one region."""

from bisect import bisect_left, insort
from dataclasses import dataclass, field

Fields = dict[str, str]


@dataclass
class Row:
    """A record; ``version`` grows by one with each change."""

    version: int
    fields: Fields


@dataclass
class SortedStore:
    """Rows by key, with the keys kept in order for scans."""

    _keys: list[str] = field(default_factory=list)
    _rows: dict[str, Row] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._keys)

    def get(self, key: str) -> Row | None:
        return self._rows.get(key)

    def put(self, key: str, fields: Fields) -> int:
        """Set ``fields`` and keep the row's others; returns the new version."""
        row = self._rows.get(key)
        if row is None:
            insort(self._keys, key)
            row = self._rows[key] = Row(0, {})
        row.fields.update(fields)
        row.version += 1
        return row.version

    def restore(self, key: str, version: int, fields: Fields) -> None:
        """Put a row exactly as it was elsewhere."""
        if key not in self._rows:
            insort(self._keys, key)
        self._rows[key] = Row(version, dict(fields))

    def scan(self, start: str, limit: int) -> list[tuple[str, Row]]:
        """At most ``limit`` rows with keys from ``start`` on, in order of their keys."""
        first = bisect_left(self._keys, start)
        return [(key, self._rows[key]) for key in self._keys[first : first + limit]]

    def clear(self) -> None:
        self._keys.clear()
        self._rows.clear()
