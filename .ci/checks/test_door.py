"""The check at the hub's door: what would harm the pattoo server goes no further, what it digests goes up.

The judge is PattooShared's own reader and, for what lies behind it, the steps of the ingester (support/ingest.py).

    DOOR_CASES=20000 .ci/check -k door     more changed posts than the quick run has
    DOOR_SEED=7      .ci/check -k door     the same ones again
"""

import json
import os
import random
from dataclasses import dataclass

import pytest

from support import ingest, mutate, requests
from support.mutate import Members, Raw
from support.paths import ORIGINAL
from support.programs import AGENT_API

RECEIVE = f"{AGENT_API}/receive/source"
JSON = {"Content-Type": "application/json"}


def cut(rows):
    """The captured post with these datapoints alone, and ids given anew."""
    post = json.loads(ORIGINAL.read_text())
    inner = post["pattoo_datapoints"]
    ids = {}
    chosen = [[ids.setdefault(old, len(ids)) for old in inner["datapoint_pairs"][row]] for row in rows]
    pairs = {str(new): inner["key_value_pairs"][str(old)] for old, new in ids.items()}
    post["pattoo_datapoints"] = {"datapoint_pairs": chosen, "key_value_pairs": pairs}
    return json.dumps(post)


REAL = cut([0, 40, 60])


@pytest.fixture(scope="module")
def hub(binaries, tmp_path_factory):
    from support.programs import Rig

    with Rig(binaries, tmp_path_factory.mktemp("door")) as rig:
        yield Door(rig.server())


@dataclass(frozen=True)
class Verdict:
    """Where a body went, by the hub's own books."""

    where: str
    datapoints: int = 0
    reason: str = ""


class Door:
    """A hub that receives and keeps."""

    def __init__(self, program):
        self.program = program
        self.before = self._books()

    def _books(self):
        return self.program.metrics()

    def set_aside(self):
        """The bodies in quarantine by file name, oldest first."""
        folder = self.program.folder.path / "cache" / "quarantine"
        return {file.name: file.read_bytes() for file in sorted(folder.iterdir())} if folder.exists() else {}

    def judge(self, body):
        answer = requests.send("POST", self.program.port, RECEIVE, body=body, headers=JSON)
        after, before = self._books(), self.before
        self.before = after

        def more(name, **labels):
            return after.sum(f"pattoo_hub_{name}", **labels) - before.sum(f"pattoo_hub_{name}", **labels)

        changed = {name: more(name) for name in ("posts_taken_total", "posts_quarantined_total", "posts_empty_total")}
        if answer.status != 200:
            assert answer.status in (404, 500) and not any(changed.values()), (answer.status, changed)
            return Verdict("refused")
        if changed["posts_empty_total"]:
            assert sum(changed.values()) == 1 and more("datapoints_taken_total") == 0
            return Verdict("empty")
        assert changed["posts_taken_total"] == 1, changed
        if changed["posts_quarantined_total"]:
            name = "pattoo_hub_posts_quarantined_total"
            reasons = [dict(labels)["reason"] for found, labels in after if found == name]
            (reason,) = [reason for reason in reasons if more("posts_quarantined_total", reason=reason)]
            return Verdict("quarantined", reason=reason)
        assert more("posts_waiting") == 1
        return Verdict("kept", int(more("datapoints_taken_total")))


# Harmful posts, each with the hub's reason.


def top(key, value):
    def change(post):
        next(member for member in post if member[0] == key)[1] = value

    return change


def inside(key, value):
    def change(post):
        top(key, value)(dict(post)["pattoo_datapoints"])

    return change


def rows(change_rows):
    def change(post):
        change_rows(dict(dict(post)["pattoo_datapoints"])["datapoint_pairs"])

    return change


def pair(name, value, key=None):
    """The pair of that name in the first datapoint gets another value, or another key, and keeps its id."""

    def change(post):
        inner = dict(dict(post)["pattoo_datapoints"])
        pairs = dict(inner["key_value_pairs"])
        found = next(pairs[str(at)] for at in inner["datapoint_pairs"][0] if pairs[str(at)][0] == name)
        found[:] = value if key == "whole" else [name if key is None else key, value]

    return change


def more_inside(post):
    dict(post)["pattoo_datapoints"].append(["more", 1])


def less_inside(post):
    dict(post)["pattoo_datapoints"].pop()


def another_agent_in_the_second(post):
    inner = dict(dict(post)["pattoo_datapoints"])
    pairs = dict(inner["key_value_pairs"])
    old = next(at for at in inner["datapoint_pairs"][1] if pairs[str(at)][0] == "pattoo_agent_id")
    inner["key_value_pairs"].append(["900", ["pattoo_agent_id", "b" * 64]])
    inner["datapoint_pairs"][1][:] = [900 if at == old else at for at in inner["datapoint_pairs"][1]]


LONE = "\ud800"
HARMFUL = {
    # Hangs the ingester.
    "a_value_that_is_nan": (pair("pattoo_value", Raw("NaN")), "nan"),
    "a_value_that_is_nan_as_text": (pair("pattoo_value", " nan "), "nan"),
    "a_value_that_is_infinity": (pair("pattoo_value", Raw("Infinity")), "infinite"),
    "a_value_that_is_minus_infinity": (pair("pattoo_value", Raw("-Infinity")), "infinite"),
    "a_value_that_overflows": (pair("pattoo_value", Raw("1e999")), "infinite"),
    "a_value_that_overflows_as_text": (pair("pattoo_value", "-1e999"), "infinite"),
    "a_value_beyond_the_column": (pair("pattoo_value", Raw("1e30")), "out_of_range"),
    # Lost whole.
    "an_unknown_id": (rows(lambda it: it[1].append(77)), "unknown_id"),
    "an_unknown_id_alone": (rows(lambda it: it.append([77])), "unknown_id"),
    "an_id_that_is_true": (rows(lambda it: it[1].append(True)), "id"),
    "an_id_that_is_null": (rows(lambda it: it[1].append(None)), "id"),
    "an_id_with_a_fraction": (rows(lambda it: it[1].append(1.0)), "id"),
    "an_id_below_zero": (rows(lambda it: it[1].append(-1)), "id"),
    "an_id_that_is_a_list": (rows(lambda it: it[1].append([1])), "id"),
    "an_id_in_words": (rows(lambda it: it[1].append("one")), "id"),
    "a_pair_with_one_member": (pair("release", ["release"], "whole"), "pair"),
    "a_pair_with_three_members": (pair("release", ["release", "6", "1"], "whole"), "pair"),
    "a_pair_without_members": (pair("release", [], "whole"), "pair"),
    "a_third_key_inside": (more_inside, "datapoints"),
    "a_missing_key_inside": (less_inside, "datapoints"),
    "datapoints_that_are_no_object": (top("pattoo_datapoints", []), "datapoints"),
    "rows_that_are_no_list": (inside("datapoint_pairs", Members([["0", 1]])), "datapoints"),
    "pairs_that_are_no_object": (inside("key_value_pairs", [["a", "b"]]), "datapoints"),
    # Stops the ingester.
    "an_entry_that_is_a_number": (rows(lambda it: it.append(0)), "entry"),
    "an_entry_that_is_null": (rows(lambda it: it.append(None)), "entry"),
    "a_key_that_is_a_number": (pair("release", "6.1", 7), "key"),
    "a_key_that_is_true": (pair("release", "6.1", True), "key"),
    "a_key_that_is_null": (pair("release", "6.1", Raw("null")), "key"),
    "a_key_that_is_a_list": (pair("release", "6.1", []), "key"),
    "a_key_that_is_an_object": (pair("release", "6.1", Members()), "key"),
    "half_a_character_in_the_agent_id": (pair("pattoo_agent_id", LONE), "surrogate"),
    "half_a_character_in_the_target": (pair("pattoo_agent_polled_target", LONE), "surrogate"),
    "half_a_character_in_the_program": (pair("pattoo_agent_program", LONE), "surrogate"),
    "half_a_character_in_the_checksum": (pair("pattoo_checksum", f"a{LONE}b"), "surrogate"),
    "half_a_character_in_the_key": (pair("pattoo_key", LONE), "surrogate"),
    "half_a_character_in_metadata": (pair("release", LONE), "surrogate"),
    "a_timestamp_that_is_text": (pair("pattoo_timestamp", "1795349433125"), "timestamp"),
    "a_timestamp_that_is_null": (pair("pattoo_timestamp", None), "timestamp"),
    "a_timestamp_that_is_a_list": (pair("pattoo_timestamp", [1]), "timestamp"),
    "a_timestamp_beyond_the_column": (pair("pattoo_timestamp", 2**64), "timestamp"),
    "an_interval_in_words": (pair("pattoo_agent_polling_interval", "five minutes"), "interval"),
    "an_interval_with_a_fraction": (pair("pattoo_agent_polling_interval", "1.5"), "interval"),
    "an_interval_that_is_null": (pair("pattoo_agent_polling_interval", None), "interval"),
    "an_interval_below_zero": (pair("pattoo_agent_polling_interval", "-1"), "interval"),
    "an_interval_beyond_the_column": (pair("pattoo_agent_polling_interval", 2**32), "interval"),
    "an_agent_id_that_is_a_number": (pair("pattoo_agent_id", 7), "name"),
    "an_agent_id_that_is_a_list": (pair("pattoo_agent_id", ["a"]), "name"),
    "a_target_that_is_null": (pair("pattoo_agent_polled_target", None), "name"),
    "a_program_that_is_a_number": (pair("pattoo_agent_program", 7), "name"),
    "a_key_of_a_series_too_long": (pair("pattoo_key", "x" * 513), "too_long"),
    "metadata_too_long": (pair("release", "é" * 257), "too_long"),
    "datapoints_of_two_agents": (another_agent_in_the_second, "mixed_agents"),
    # Writes elsewhere.
    "a_stamp_that_is_a_path": (top("pattoo_agent_timestamp", "/../../x"), "agent_timestamp"),
    "a_stamp_that_is_text": (top("pattoo_agent_timestamp", "1795349433125"), "agent_timestamp"),
    "a_stamp_too_long_for_a_file": (top("pattoo_agent_timestamp", 10**250), "agent_timestamp"),
}

# What the reader does not choke on, and why the hub takes none of it.
BY_RULE = {
    "a_stamp_with_a_fraction": (
        top("pattoo_agent_timestamp", 1.5),
        "agent_timestamp",
        "times are integers; it names a file",
    ),
    "an_interval_of_the_post_in_words": (
        top("pattoo_agent_polling_interval", "300"),
        "interval",
        "intervals are integers",
    ),
    "an_agent_id_that_is_a_path": (top("pattoo_agent_id", "../x"), "agent_id", "it names a lane, never a path"),
    "an_agent_id_that_is_none": (top("pattoo_agent_id", None), "agent_id", "it names a lane"),
    "nested_too_deeply": (
        pair("pattoo_value", Raw("[" * 200 + "]" * 200)),
        "too_deep",
        "Python gives up on deep nesting, at a depth of its own",
    ),
}


def changed(change):
    post = mutate.read(REAL)
    change(post)
    return mutate.write(post).encode()


def assert_set_aside(hub, body, reason):
    assert hub.judge(body) == Verdict("quarantined", reason=reason)
    name, kept = list(hub.set_aside().items())[-1]
    assert name.endswith(f"-{reason}.body") and kept == body


@pytest.fixture(scope="module")
def fates(tmp_path_factory):
    """What becomes of each harmful post, all asked at once: the reader's start is what takes time."""
    bodies = [changed(change) for change, _ in HARMFUL.values()]
    return dict(zip(HARMFUL, ingest.fates(bodies, tmp_path_factory.mktemp("reader"))))


@pytest.mark.parametrize("what", HARMFUL)
def test_what_harms_the_server_is_set_aside(hub, fates, what):
    change, reason = HARMFUL[what]
    fate = fates[what]
    assert "chokes" in fate or fate.get("kept") == 0, fate
    assert_set_aside(hub, changed(change), reason)


@pytest.mark.parametrize("what", BY_RULE)
def test_what_a_rule_forbids_is_set_aside(hub, what):
    change, reason, _why = BY_RULE[what]
    assert_set_aside(hub, changed(change), reason)


def test_a_post_without_a_valid_datapoint_goes_nowhere(hub, tmp_path):
    def one_of_an_unknown_type(post):
        pair("pattoo_data_type", 7)(post)
        rows(lambda it: it.__delitem__(slice(1, None)))(post)

    bodies = [
        changed(inside("datapoint_pairs", [])),
        changed(rows(lambda it: [row.pop() for row in it])),
        changed(one_of_an_unknown_type),
    ]
    assert ingest.fates(bodies, tmp_path) == [{"kept": 0}] * len(bodies)
    before = hub.set_aside()
    assert [hub.judge(body) for body in bodies] == [Verdict("empty")] * len(bodies)
    assert hub.set_aside() == before


def test_a_post_with_some_valid_datapoints_goes_up_and_the_others_are_counted(hub, tmp_path):
    body = changed(rows(lambda it: [it[0].pop(), it.append([])]))
    assert ingest.fates([body], tmp_path) == [{"kept": 2}]
    before = hub.before.sum("pattoo_hub_datapoints_ignored_total", reason="keys")
    assert hub.judge(body) == Verdict("kept", 2)
    assert hub.before.sum("pattoo_hub_datapoints_ignored_total", reason="keys") == before + 2


# Changed at random. Where the hub is stricter than the server is, its reason is one of these:
STRICTER = {
    "nan": "anywhere in the text, also where the server does not look",
    "infinite": "as nan; an integer that no float holds",
    "too_deep": "as nan",
    "out_of_range": "digits of other scripts",
    "agent_id": "the lane's name",
    "agent_timestamp": "a fraction, a truth value or a negative number would only name a file",
    "interval": "the post's own, which the server never reads; 1.5 and true, which it rounds",
    "timestamp": "a fraction, a truth value or a negative number can be compared",
    "name": "a number as pattoo_key, hostname or checksum is written out",
    "surrogate": "in the host name, which only earlier servers kept",
    "too_long": "host name and checksum, which have no column",
    "entry": "the letters of a text and the keys of an object can be ids",
    "id": "1.0 is looked up as '1.0'",
}


def test_what_the_hub_lets_through_the_server_digests(hub, tmp_path):
    cases = int(os.environ.get("DOOR_CASES", "400"))
    seed = int(os.environ.get("DOOR_SEED", random.SystemRandom().randrange(2**32)))
    print(f"DOOR_SEED={seed} DOOR_CASES={cases}")
    bodies = [REAL.encode()] + [mutate.mutated(REAL, f"{seed}-{number}") for number in range(cases)]
    fates = ingest.fates(bodies, tmp_path, timeout=60 + cases / 50)
    seen = {}
    for number, (body, fate) in enumerate(zip(bodies, fates)):
        verdict = hub.judge(body)
        seen[verdict.where, verdict.reason] = seen.get((verdict.where, verdict.reason), 0) + 1
        told = f"DOOR_SEED={seed}, case {number}: {verdict}, {fate}\n{body.decode()}"
        if verdict.where == "kept":
            assert fate == {"kept": verdict.datapoints}, told
        elif verdict.where == "empty":
            assert fate == {"kept": 0}, told
        elif verdict.where == "refused":
            assert "refused" in fate, told
        else:
            harms = "chokes" in fate or fate.get("kept") == 0
            assert harms or verdict.reason in STRICTER, told
    print(seen)
    wheres = {where for where, _ in seen}
    assert wheres == {"kept", "quarantined", "refused", "empty"}, seen
