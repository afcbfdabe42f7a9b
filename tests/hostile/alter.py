"""Honest files made hostile, by a seed: bytes that are torn, and values of the right form that mean something else."""

from __future__ import annotations

import copy
import csv
import io
import json
import struct
from collections.abc import Callable
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

Alter = Callable[[bytes, Random], bytes]
NASTY: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**30, 0.5, -0.0, 1e308, float("nan"), float("inf")),
    *("", " ", "\0", "a\0b", "\ud800", "x" * 100_000, "\u202e", "é" * 300, "nan", "inf", "1e999", "no", "2020-01-01"),
    *("../../../../etc/passwd", "/etc/passwd", "~nouser/x", "/dev/zero", "a/" * 3000, "con", "*?[a]", "run=1"),
    *(
        "'; DROP TABLE results; --",
        "\"); COPY results TO '/tmp/x",
        "read_text('/etc/passwd')",
        "=1+1",
        "<svg/onload=x>",
    ),
    *("auto_map", "trust_remote_code", "os.system", "org/name", "hf-hub:org/name", "local-dir:/nowhere"),
    *([], {}, [[]], ["a"] * 1000, [0] * 1000, {"a": {"b": None}}, {"": ""}, [None], [{}], [1, "a", None]),
)
TOKENS = (
    *(
        b"\0",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"\xed\xa0\x80",
        b"NaN",
        b"-Infinity",
        b"1e999",
        b"9" * 30,
        b'"',
        b"'",
        b"\r",
    ),
    *(b"[" * 500, b"{" * 500, b"&a [*a, *a]", b"<<: *a", b"!!python/object/apply:os.system [id]", b"\n---\n", b"\t"),
    *(
        b"../" * 20,
        b"\xe2\x80\xae",
        b",",
        b";",
        b"\n" * 50,
        b"x" * 5000,
        b"sep=;\n",
        b"\x1f\x8b\x08",
        b"PAR1",
        b"PK\3\4",
    ),
)
RESERVED = ("image", "key", "disagreement", "clip_cosine", "Language", "PROMPT", "prompt ", "n_noise", "flagged", "")


def alter_bytes(content: bytes, random: Random) -> bytes:
    """Some bits, slices and tokens moved, torn or put in."""
    changed = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 4))):
        start, end = sorted(random.randrange(len(changed) + 1) for _ in range(2))
        end = min(end, start + random.choice((1, 4, 64, 4096)))
        match random.randrange(7):
            case 0 if changed:
                changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
            case 1:
                del changed[start:end]
            case 2:
                changed[start:start] = changed[start:end] * random.choice((1, 2, 50))
            case 3:
                changed[start:start] = random.choice(TOKENS)
            case 4:
                del changed[start:]
            case 5:
                changed[start:end] = random.randbytes(end - start)
            case _:
                changed[start:end] = bytes(end - start)
    return bytes(changed)


def alter_value(value: Any, random: Random) -> Any:
    """A plain value with one place of it replaced, removed, repeated or buried."""
    changed = [copy.deepcopy(value)]
    holder, place = random.choice(list(_places(changed)))
    match random.randrange(8):
        case 0 if isinstance(holder, dict):
            del holder[place]
        case 1 if isinstance(holder, dict):
            holder[random.choice((*RESERVED, "more", "__class__", "auto_map"))] = holder[place]
        case 2 if isinstance(holder, list):
            holder.extend([holder[place]] * random.choice((1, 100, 2000)))
        case 3:
            for _ in range(random.choice((2, 70, 500))):
                holder[place] = [holder[place]]
        case 4:
            holder[place] = str(holder[place])
        case _:
            holder[place] = copy.deepcopy(random.choice(NASTY))
    return changed[0] if changed else None


def _places(value: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        own = waiting.pop()
        for place in own if isinstance(own, dict) else range(len(own)):
            found.append((own, place))
            if isinstance(own[place], (dict, list)):
                waiting.append(own[place])
    return found


def alter_json(content: bytes, random: Random) -> bytes:
    """A JSON document with another value in it, or other bytes."""
    if random.random() < 0.3:
        return alter_bytes(content, random)
    return json.dumps(alter_value(json.loads(content), random)).encode("utf-8", "surrogatepass")


def alter_json_lines(content: bytes, random: Random) -> bytes:
    """Lines of JSON, one of which holds another value."""
    if random.random() < 0.3:
        return alter_bytes(content, random)
    lines = content.splitlines()
    place = random.randrange(len(lines))
    lines[place] = alter_json(lines[place], random).replace(b"\n", b" ")
    return b"\n".join(lines) + b"\n"


def alter_yaml(content: bytes, random: Random) -> bytes:
    """A YAML document with another value in it, or other bytes."""
    if random.random() < 0.3:
        return alter_bytes(content, random)
    try:
        return yaml.safe_dump(alter_value(yaml.safe_load(content), random)).encode("utf-8", "surrogatepass")
    except (yaml.YAMLError, RecursionError):
        return alter_bytes(content, random)


def alter_csv(content: bytes, random: Random) -> bytes:
    """A CSV table with other cells, columns, delimiters or bytes."""
    if random.random() < 0.3:
        return alter_bytes(content, random)
    rows = _altered_cells([list(row) for row in csv.reader(io.StringIO(content.decode()))], random)
    text = io.StringIO()
    writer = csv.writer(text, delimiter=random.choice(",,,;\t|"))
    writer.writerows([["" if cell is None else str(cell) for cell in row] for row in rows])
    encoding = random.choice(("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"))
    return text.getvalue().encode(encoding, "surrogatepass" if encoding.startswith("utf") else "replace")


def _altered_cells(rows: list[list[Any]], random: Random) -> list[list[Any]]:
    column = random.randrange(len(rows[0]))
    match random.randrange(7):
        case 0:
            rows[0][column] = random.choice(RESERVED)
        case 1:
            for row in rows:
                del row[column]
        case 2:
            for row in rows:
                row += row[: column + 1] * random.choice((1, 20, 600))
        case 3:
            rows[1:] = rows[1:] * random.choice((2, 300))
        case 4:
            rows[random.randrange(len(rows))] = [random.choice(NASTY) for _ in rows[0]]
        case _:
            nasty = random.choice(NASTY)
            for row in rows[1:] if random.random() < 0.5 else [random.choice(rows)]:
                row[column] = nasty
    return rows


def alter_parquet(content: bytes, random: Random) -> bytes:
    """A Parquet table with a column of another type, name, length or of hostile values, or other bytes."""
    if random.random() < 0.3:
        return alter_bytes(content, random)
    table = pq.read_table(io.BytesIO(content))
    try:
        return _stored(_altered_columns(table, random), random)
    except pa.ArrowException:  # of what Arrow has a type for, not all can be stored
        return alter_bytes(content, random)


def _altered_columns(table: pa.Table, random: Random) -> pa.Table:
    place, n = random.randrange(table.num_columns), table.num_rows
    name = table.column_names[place]
    match random.randrange(8):
        case 0:
            return table.remove_column(place)
        case 1:
            return table.rename_columns([random.choice(RESERVED) if own == name else own for own in table.column_names])
        case 2:
            return pa.concat_tables([table] * random.choice((2, 40)))
        case 3:
            return table.slice(0, random.choice((0, 1)))
        case 4:
            return table.append_column(random.choice((*RESERVED, "x" * 5000)), _column(n, random))
        case 5:
            same = pa.array([table.column(place)[0].as_py()] * n if n else [], table.schema.types[place])
            return table.set_column(place, name, same)
        case _:
            return table.set_column(place, name, _column(n, random))


def _column(n: int, random: Random) -> pa.Array:
    """Some hostile value in every row, in the type that Arrow gives it."""
    value = random.choice((*NASTY, b"bytes", b"\xff\xfe", {"bytes": b"x", "path": None}, [b"x"], 10**18))
    try:
        return pa.array([value] * n)
    except (pa.ArrowException, UnicodeEncodeError, OverflowError):
        return pa.nulls(n)


def _stored(table: pa.Table, random: Random) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression=random.choice(("snappy", "zstd", "none")))
    return buffer.getvalue()


def alter_safetensors(content: bytes, random: Random) -> bytes:
    """Tensors whose header says something else, or other bytes."""
    if random.random() < 0.4:
        return alter_bytes(content, random)
    (length,) = struct.unpack("<Q", content[:8])
    header, tensors = json.loads(content[8 : 8 + length]), content[8 + length :]
    changed = json.dumps(alter_value(header, random)).encode("utf-8", "surrogatepass")
    told = random.choice((len(changed),) * 4 + (0, 2**40, 2**63))
    return struct.pack("<Q", told) + changed + tensors


def alter_tensors(content: bytes, random: Random) -> bytes:
    """The numbers of a safetensors file, of which some are no numbers any more; the header stays."""
    (length,) = struct.unpack("<Q", content[:8])
    body = bytearray(content)
    for _ in range(random.choice((1, 8, 200))):
        at = random.randrange(8 + length, len(body))
        body[at : at + 4] = random.choice((b"\xff\xff\xff\x7f", b"\0\0\x80\x7f", b"\0\0\xc0\x7f", random.randbytes(4)))
    return bytes(body[: len(content)])
