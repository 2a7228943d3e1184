"""
The table of jobs in MySQL: gearmand's own, brought up to date in place.

::

    unique_key     VARBINARY(64)    the row's key: the unique id, or one that is made
    function_name  VARBINARY(255)
    priority       INT              0 high, 1 normal, 2 low
    data           LONGBLOB         the workload
    when_to_run    INT              Unix seconds, 0 is at once
    position       BIGINT           counts up: the order of submission
    handle, unique_id, function, reducer, attempts, run_at, submitted

C{unique_key} and C{function_name} together are a unique key.  gearmand names
the columns that it knows in all its statements, and the others may be empty; so
it goes on with such a table.

gearmand itself makes the first two C{VARCHAR}, in the database's own character
set: C{A} and C{a}, or C{a} with and without a blank behind it, are one key
then, and many names can't be stored.  Bytes are compared as they are, by
gearmand's statements too, and it is sent the same bytes that it once sent.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pymysql.constants import ER
from pymysql.err import MySQLError

from gearsvc.interfaces import StoreError
from gearsvc.stores.mysqlconnection import Connection, code_of
from gearsvc.stores.rows import MADE_KEY

KEY = ("unique_key", "function_name")

_UTF8 = " CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"

_WIDE = "('ucs2', 'utf16', 'utf16le', 'utf32')"
"""
The character sets in which not even ASCII is as elsewhere.
"""

_SIZES = {"unique_key": 64, "function_name": 255}

_EXTRA = {
    "when_to_run": "INT",
    "handle": "VARBINARY(255)",
    "unique_id": "VARBINARY(255)",
    "function": "BLOB",
    "reducer": "BLOB",
    "attempts": "INT",
    "run_at": "BIGINT",
    "submitted": "DOUBLE",
}
"""
What tables of some gearmand, or all, lack.
"""

_TEXTS = {"char", "varchar"}
_NUMBERS = {"tinyint", "smallint", "mediumint", "int", "bigint"}
_BYTES = {"varbinary", "tinyblob", "blob", "mediumblob", "longblob"}
_LONG = _BYTES | _TEXTS | {"tinytext", "text", "mediumtext", "longtext"}

_TYPES = {
    "unique_key": _TEXTS | {"varbinary"},
    "function_name": _TEXTS | {"varbinary"},
    "priority": _NUMBERS,
    "data": _LONG,
    "when_to_run": _NUMBERS,
    "handle": _BYTES,
    "unique_id": _BYTES,
    "function": _BYTES,
    "reducer": _BYTES,
    "attempts": _NUMBERS,
    "run_at": {"bigint"},
    "submitted": {"double"},
}
"""
What each column may be in a table that we find.
"""


def quoted(name: str) -> str:
    """
    A name as it is written in a statement.
    """
    return "`" + name.replace("`", "``") + "`"


def literal(text: str) -> str:
    """
    A text as it is written in a statement.
    """
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


@dataclass
class _Column:
    """
    One column that is there.
    """

    kind: str
    nullable: bool
    characters: int
    octets: int
    counts: bool


@dataclass
class _Index:
    """
    One unique index that is there.
    """

    columns: list[str] = field(default_factory=list)
    whole: bool = True

    @property
    def is_key(self) -> bool:
        """
        Whether it is the one that tells jobs apart.
        """
        return self.whole and set(self.columns) == set(KEY)


class QueueTable:
    """
    Makes the table, or adopts it.

    @ivar name: its name, as it is written in a statement.
    @ivar position: the column that counts up, as it is written in a statement.
    @ivar function_bytes: how much of a function's name fits into its column.
    """

    def __init__(self, name: str, store: str) -> None:
        """
        @param store: what the store is called in a sentence's begin.
        """
        self._table = name
        # The name as the server has it.
        self._found = name
        self._store = store
        self.name = quoted(name)
        self.position = quoted("position")
        self.function_bytes = _SIZES["function_name"]

    def prepare(self, connection: Connection) -> None:
        """
        See to it that the table is there, and has all that it needs.  A table
        that is no queue is left as it is.

        @raise StoreError: if it can't be used.
        @raise MySQLError: if the server refuses something.
        """
        if self._exists(connection):
            self._adopt(connection)
        else:
            self._create(connection)

    def _foreign(self, why: str) -> StoreError:
        return StoreError(f"{self._store} is not a queue of Gearman jobs: {why}; name another table.")

    def _exists(self, connection: Connection) -> bool:
        """
        @raise StoreError: if there is something else of that name.
        """
        found = connection.rows(
            "SELECT TABLE_NAME, TABLE_TYPE, t.ENGINE, e.TRANSACTIONS FROM information_schema.TABLES t"
            " LEFT JOIN information_schema.ENGINES e ON e.ENGINE = t.ENGINE"
            f" WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = {literal(self._table)}"
        )
        # That comparison takes A for a, as only some servers do with tables.
        found = [row for row in found if connection.folds or row[0] == self._table.encode()]
        if not found:
            return False
        name, kind, engine, transactions = found[0]
        self._found = name.decode()
        if kind != b"BASE TABLE":
            raise self._foreign(f"it is a {kind.decode().lower()}")
        if transactions != b"YES":
            raise StoreError(
                f"{self._store} can't keep its jobs safe: its engine, {engine.decode()}, has no transactions;"
                f" change it (ALTER TABLE {self.name} ENGINE=InnoDB), or name another table."
            )
        return True

    def _create(self, connection: Connection) -> None:
        extra = ", ".join(f"{quoted(column)} {kind}" for column, kind in _EXTRA.items())
        keys = ", ".join(f"{column} VARBINARY({size})" for column, size in _SIZES.items())
        connection.run(
            f"CREATE TABLE {self.name} ({keys}, priority INT, data LONGBLOB, {extra},"
            f" {self.position} BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,"
            " UNIQUE KEY unique_key (unique_key, function_name)) ENGINE=InnoDB"
        )

    # A table that is there.

    def _adopt(self, connection: Connection) -> None:
        columns = self._columns(connection)
        indexes = self._indexes(connection)
        self._check(columns, indexes)
        changes = [f"ADD COLUMN {quoted(name)} {kind}" for name, kind in _EXTRA.items() if name not in columns]
        changes += self._change_keys(connection, columns)
        if columns["data"].kind != "longblob":
            changes.append("MODIFY COLUMN data LONGBLOB")
        narrow = [name for name, index in indexes.items() if set(index.columns) <= set(KEY) and not index.is_key]
        changes += ["DROP PRIMARY KEY" if name == "PRIMARY" else f"DROP INDEX {quoted(name)}" for name in narrow]
        if not any(index.is_key for index in indexes.values()):
            changes.append("ADD UNIQUE KEY (unique_key, function_name)")
        counting = [name for name, column in columns.items() if column.counts]
        if counting:
            self.position = quoted(counting[0])
        else:
            # Rows that are there are numbered as they lie: in the order of
            # submission, if the table has no primary key.
            primary = "PRIMARY" in indexes and "PRIMARY" not in narrow
            changes.append(f"ADD COLUMN {self.position} BIGINT NOT NULL AUTO_INCREMENT {'UNIQUE' if primary else 'PRIMARY'} KEY")
        if changes:
            self._alter(connection, *changes)
        self.function_bytes = self._columns(connection)["function_name"].octets
        # Rows that somebody wrote by hand: no statement would find their keys.
        odd = "WHERE unique_key IS NULL OR function_name IS NULL"
        if connection.rows(f"SELECT 1 FROM {self.name} {odd} LIMIT 1"):
            connection.run(
                f"UPDATE {self.name} SET unique_key = CONCAT('{MADE_KEY.decode()}row:', {self.position}),"
                f" function_name = COALESCE(function_name, '') {odd}"
            )

    def _columns(self, connection: Connection) -> dict[str, _Column]:
        found = connection.rows(
            "SELECT COLUMN_NAME, DATA_TYPE, IS_NULLABLE, CHARACTER_MAXIMUM_LENGTH, CHARACTER_OCTET_LENGTH, EXTRA"
            " FROM information_schema.COLUMNS"
            f" WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = {literal(self._found)}"
        )
        return {
            name.decode().lower(): _Column(
                kind.decode().lower(), nullable == b"YES", int(characters or 0), int(octets or 0), b"auto_increment" in extra
            )
            for name, kind, nullable, characters, octets, extra in found
        }

    def _indexes(self, connection: Connection) -> dict[str, _Index]:
        """
        @return: the unique ones, by their names.
        """
        indexes: dict[str, _Index] = {}
        for row in connection.rows(f"SHOW INDEX FROM {self.name}"):
            _, not_unique, name, _, column, _, _, part = row[:8]
            if not_unique == b"0":
                index = indexes.setdefault(name.decode(), _Index())
                index.columns.append((column or b"").decode().lower())
                index.whole = index.whole and part is None
        return indexes

    def _check(self, columns: dict[str, _Column], indexes: dict[str, _Index]) -> None:
        """
        @raise StoreError: if this is no table of gearmand's, or of ours.
        """
        missing = _TYPES.keys() - _EXTRA.keys() - columns.keys()
        if missing:
            raise self._foreign(f"it has no column {', '.join(sorted(missing))}")
        for name, kinds in _TYPES.items():
            if name in columns and columns[name].kind not in kinds:
                raise self._foreign(f"its column {name} is {columns[name].kind.upper()}")
        counting = {name for name, column in columns.items() if column.counts}
        if "position" in columns and "position" not in counting:
            raise self._foreign("its column position does not count up (AUTO_INCREMENT)")
        for name, index in indexes.items():
            if not (set(index.columns) <= set(KEY) or counting & set(index.columns)):
                # What is added would take the place of a job that has the same there.
                raise self._foreign(f"its unique index {name} would take two jobs for one")

    def _change_keys(self, connection: Connection, columns: dict[str, _Column]) -> list[str]:
        """
        What makes bytes of the key's columns.
        """
        texts = [name for name in KEY if columns[name].kind != "varbinary"]
        if texts and self._is_converted(connection, texts):
            wider = [self._modify(name, columns[name], "VARCHAR", columns[name].characters, _UTF8) for name in texts]
            self._alter(connection, *wider)
        changes = []
        for name in KEY:
            column = columns[name]
            if name in texts or column.octets < _SIZES[name]:
                changes.append(self._modify(name, column, "VARBINARY", self._size(connection, name, column)))
        return changes

    def _is_converted(self, connection: Connection, columns: list[str]) -> bool:
        """
        Whether gearmand has sent other bytes than those that lie in these
        columns.

        Its client library says that they are UTF-8, and the server makes of
        them what the column's character set has in their place; or, if it is
        an old one, that they are Latin-1, and they lie there as they were sent.
        They were UTF-8 in either case, if they were not ASCII.
        """
        differ = []
        for name in columns:
            lying = f"CAST({name} AS BINARY)"
            differ.append(
                f"({lying} <> CAST(CONVERT({name} USING utf8mb4) AS BINARY) AND (CHARSET({name}) IN {_WIDE}"
                f" OR COALESCE(CAST(CONVERT({lying} USING utf8mb4) AS BINARY) <> {lying}, TRUE)))"
            )
        return bool(connection.rows(f"SELECT 1 FROM {self.name} WHERE {' OR '.join(differ)} LIMIT 1"))

    def _size(self, connection: Connection, name: str, column: _Column) -> int:
        """
        How many bytes a column has to take: as many as before, whatever its
        character set was.
        """
        [[longest]] = connection.rows(f"SELECT MAX(LENGTH({name})) FROM {self.name}")
        return max(_SIZES[name], column.octets, int(longest or 0))

    @staticmethod
    def _modify(name: str, column: _Column, kind: str, size: int, more: str = "") -> str:
        return f"MODIFY COLUMN {name} {kind}({size}){more}" + ("" if column.nullable else " NOT NULL")

    def _alter(self, connection: Connection, *changes: str) -> None:
        try:
            connection.run(f"ALTER TABLE {self.name} {', '.join(changes)}")
        except MySQLError as error:
            if code_of(error) == ER.DUP_ENTRY:
                raise StoreError(
                    f"{self._store} can't be brought up to date: two of its rows have the same unique_key and function_name;"
                    " remove one of them."
                ) from None
            raise
