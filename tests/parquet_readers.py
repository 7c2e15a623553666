"""Reads Parquet files with pyarrow and DuckDB and holds every value against the journal's lines.

usage: parquet_readers.py LINES.ndjson PARQUET_DIR

Both readers know nothing of the program. Times are compared as integers of nanoseconds, decimals as decimals. Exit
status 1 and one line for each difference (ten at most) when something differs.
"""

import json
import pathlib
import sys
from decimal import Decimal

import duckdb
import pyarrow
import pyarrow.parquet

HEAD = ["symbol", "native", "ts_event", "ts_recv", "ts_publish", "attempt"]
NOT_DATA = {"seq", "kind", "source", "date", "data_json", *HEAD}


def main(lines_path, parquet_dir):
    with open(lines_path, encoding="utf-8") as file:
        records = {record["seq"]: record for record in map(json.loads, file)}
    files = sorted(pathlib.Path(parquet_dir).rglob("*.parquet"))
    differences = []
    for name, reader in [("pyarrow", by_pyarrow), ("duckdb", by_duckdb)]:
        seen = set()
        rows = values = 0
        for row in reader(files, parquet_dir):
            rows += 1
            seen.add(row["seq"])
            found, count = compare(row, records.get(row["seq"]))
            differences += [f"{name}: {difference}" for difference in found]
            values += count
        if seen != set(records) or rows != len(records):
            missing = sorted(set(records) - seen)[:5]
            differences.append(f"{name}: {rows} rows of {len(records)} records, missing {missing}")
        print(f"{name}: {rows} rows, {values} values")
    for difference in differences[:10]:
        print(difference)
    return 1 if differences or not records else 0


def partition(path):
    """What the folders say: kind, source and date."""
    return dict(part.split("=", 1) for part in path.parts if "=" in part)


def by_pyarrow(files, _dir):
    for path in files:
        table = pyarrow.parquet.ParquetFile(path).read()
        for index, field in enumerate(table.schema):
            if pyarrow.types.is_timestamp(field.type):
                assert (field.type.unit, field.type.tz) == ("ns", "UTC"), field
                table = table.set_column(index, field.name, table.column(index).cast(pyarrow.int64()))
        for row in table.to_pylist():
            yield {**partition(path), **row}


def by_duckdb(_files, parquet_dir):
    connection = duckdb.connect()
    for folder in sorted(pathlib.Path(parquet_dir).glob("kind=*")):
        source = f"read_parquet('{folder}/**/*.parquet', hive_partitioning = true, hive_types_autocast = false)"
        columns = connection.sql(f"DESCRIBE SELECT * FROM {source}").fetchall()
        select = [f'epoch_ns("{name}")' if kind.startswith("TIMESTAMP") else f'"{name}"' for name, kind, *_ in columns]
        names = [name for name, *_ in columns]
        for row in connection.sql(f"SELECT {', '.join(select)} FROM {source}").fetchall():
            yield dict(zip(names, row))


def compare(row, record):
    """The differences between a row and the record of its number, and how many values were compared."""
    if record is None:
        return [f"seq {row['seq']}: no such record"], 0
    data = record["data"]
    pairs = [(name, row[name], record.get(name)) for name in ["kind", "source", *HEAD]]
    if row["data_json"] is not None:
        # Some value fits no column: the whole stands here, and columns hold what does fit.
        pairs.append(("data_json", json.loads(row["data_json"]), data))
    else:
        columns = {name: value for name, value in row.items() if name not in NOT_DATA}
        columns = {"date" if name == "rate_date" else name: value for name, value in columns.items()}
        unknown = set(data) - set(columns)
        if unknown:
            return [f"seq {row['seq']}: no column for {sorted(unknown)}"], 0
        pairs += [(name, value, expected(value, data.get(name))) for name, value in columns.items()]
    return [f"seq {row['seq']} {name}: found {found!r}, expected {want!r}" for name, found, want in pairs if found != want], len(pairs)


def expected(found, value):
    """The journal's value as a reader gives it: decimals are texts there, levels are pairs."""
    if isinstance(found, Decimal) and value is not None:
        return Decimal(value)
    if isinstance(found, list):
        levels = bool(found) and isinstance(found[0], dict)
        return [{"price": Decimal(price), "size": Decimal(size)} for price, size in value] if levels else value or []
    return value


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
