"""What becomes of a post on the pattoo server: PattooShared's own reader, then what the ingester does with each record.

The reader is the server's own code. The ingester's steps are written down here from its published source (the pattoo
repository), each with its place, since it comes with no package and wants a database.

Run as a program this file reads posts, a JSON text a line in base64, and answers each with a line of JSON:
    {"kept": 3}                       so many records, each of which the database takes
    {"kept": 0}                       nothing: the server never deletes such a post
    {"refused": "..."}                the server's own API refuses it
    {"chokes": "..."}                 the reader raises, or the ingester or the database would
"""

import base64
import json
import math
import os
import subprocess
import sys

COLUMN = 512  # pattoo/db/models.py: VARBINARY(MAX_KEYPAIR_LENGTH)
KEYS = {"pattoo_agent_id", "pattoo_agent_polling_interval", "pattoo_agent_timestamp", "pattoo_datapoints"}


def _column(text):
    """As agent.py, pair.py and misc.py do: `text.encode()` into VARBINARY(512), whose overflow is an error."""
    if len(text.encode()) > COLUMN:
        raise ValueError("Data too long for column")


def _ingest(records):
    """pattoo/ingest/records.py, process_db_records, and what it calls."""
    # files.py, Cache.records: the first record's agent_id is the key of all; misc.py, agent_checksums, asks for its
    # series alone. Those of another agent are unknown, count as new, and a post that comes twice is a duplicate entry.
    if len({record.pattoo_agent_id for record in records}) > 1:
        raise ValueError("Duplicate entry")
    for record in records:
        # agent.py, insert_row
        for text in (record.pattoo_agent_id, record.pattoo_agent_polled_target, record.pattoo_agent_program):
            _column(text)
        # ingest/get.py, key_value_pairs
        _column(str(record.pattoo_key))
        for key, value in record.pattoo_metadata:
            _column(key)
            _column(value)
        # models.py: polling_interval INTEGER(unsigned)
        if not 0 <= int(record.pattoo_agent_polling_interval) < 2**32:
            raise ValueError("Out of range value for column polling_interval")
        if record.pattoo_data_type in (None, 2):
            continue
        try:
            value = float(record.pattoo_value)
        except Exception:
            continue
        # models.py: timestamp BIGINT(unsigned); an earlier one than the newest of its series is left out.
        if record.pattoo_timestamp > 1 and not record.pattoo_timestamp < 2**64:
            raise ValueError("Out of range value for column timestamp")
        # models.py: value NUMERIC(40, 10)
        if not math.isfinite(value) or not abs(round(value, 10)) < 1e30:
            raise ValueError(f"{value} for a NUMERIC(40, 10)")


def fate(body, converter):
    """What becomes of one post."""
    try:
        post = json.loads(body)
    except (ValueError, RecursionError) as error:
        return {"refused": repr(error)}
    if not isinstance(post, dict) or set(post) != KEYS:
        return {"refused": "other keys"}
    stamp = post["pattoo_agent_timestamp"]
    # pattoo/api/agents/post.py: '{}{}{}_{}_{}.json'.format(cache_dir, os.sep, timestamp, source, suffix)
    if isinstance(stamp, str) or len(str(stamp)) > 200:
        return {"chokes": f"the file name begins with {stamp!r:.40}"}
    try:
        kept = converter.cache_to_keypairs(post)
        _ingest(kept)
    except Exception as error:
        return {"chokes": repr(error)}
    return {"kept": len(kept)}


def fates(bodies, folder, timeout=120):
    """What becomes of each post. The reader wants a configuration directory when it is imported: its own process."""
    (folder / "log").mkdir(parents=True, exist_ok=True)
    directories = {f"{name}_directory": str(folder / "log") for name in ("log", "cache", "daemon")}
    settings = {"pattoo": {"log_level": "critical", "language": "en"} | directories}
    (folder / "pattoo.yaml").write_text(json.dumps(settings))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", __file__],
        input=b"".join(base64.b64encode(body) + b"\n" for body in bodies),
        capture_output=True,
        env=os.environ | {"PATTOO_CONFIGDIR": str(folder)},
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr.decode()
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(bodies)
    return answers


if __name__ == "__main__":
    from pattoo_shared import converter as reader

    for line in sys.stdin.buffer:
        print(json.dumps(fate(base64.b64decode(line), reader)))
