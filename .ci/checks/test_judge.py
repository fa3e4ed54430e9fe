"""The judge of posts itself: it accepts what the original system sent, and refuses what is tampered with."""

import json

import pytest

from support.judge import Refused, judge
from support.paths import ORIGINAL


def original():
    return ORIGINAL.read_bytes()


def changed(change):
    """The captured post after `change`, written as a spoke writes."""
    data = json.loads(original())
    pairs = data["pattoo_datapoints"]["key_value_pairs"]
    data = change(data, pairs, data["pattoo_datapoints"]["datapoint_pairs"]) or data
    return json.dumps(data, separators=(",", ":")).encode() + b"\n"


def first_id(pairs, name):
    return next(number for number, pair in pairs.items() if pair[0] == name)


def set_value(name, value):
    def change(_data, pairs, _rows):
        pairs[first_id(pairs, name)][1] = value

    return change


def swapped_rows(_data, _pairs, rows):
    rows[0], rows[1] = rows[1], rows[0]


def swapped_metadata(_data, _pairs, rows):
    rows[5][2], rows[5][3] = rows[5][3], rows[5][2]


def key_added(data, _pairs, _rows):
    data["z"] = 1


def key_removed(data, _pairs, _rows):
    del data["pattoo_agent_timestamp"]


def point_removed(_data, _pairs, rows):
    rows.pop()


def point_twice(_data, _pairs, rows):
    rows.append(rows[-1])


def pair_twice(_data, pairs, rows):
    number = len(pairs)
    pairs[str(number)] = ["pattoo_value", 0]
    rows[-1][-2] = number


def ids_as_text(_data, pairs, _rows):
    moved = dict(sorted(pairs.items()))
    pairs.clear()
    pairs.update(moved)


def unknown_id(_data, _pairs, rows):
    rows[3][4] = 99999


TAMPERED = {
    "checksum": set_value("pattoo_checksum", "0" * 64),
    "key": set_value("pattoo_key", "cpu_times_percent_users"),
    "data_type": set_value("pattoo_data_type", 64),
    "unknown_data_type": set_value("pattoo_data_type", 7),
    "hostname": set_value("hostname", "elsewhere"),
    "cpus_as_number": set_value("cpus", 2),
    "text_not_stripped": set_value("processor", " "),
    "value_as_text": set_value("pattoo_value", "53.0"),
    "not_finite": set_value("pattoo_value", float("nan")),
    "stamp_as_text": set_value("pattoo_timestamp", "1795349433118"),
    "order_of_points": swapped_rows,
    "order_of_metadata": swapped_metadata,
    "a_fifth_key": key_added,
    "a_missing_key": key_removed,
    "a_missing_point": point_removed,
    "a_point_twice": point_twice,
    "a_pair_with_two_ids": pair_twice,
    "ids_in_the_order_of_text": ids_as_text,
    "an_unknown_id": unknown_id,
}


def test_accepts_the_captured_original():
    post = judge(original())
    assert len(post.points) == len(json.loads(original())["pattoo_datapoints"]["datapoint_pairs"]) > 60
    assert post.interval == 300000


@pytest.mark.parametrize("what", TAMPERED)
def test_refuses(what):
    # Without the change the same path is accepted, so that it is the change which is refused.
    judge(changed(lambda *_: None))
    with pytest.raises(Refused):
        judge(changed(TAMPERED[what]))


@pytest.mark.parametrize("ending", ["", "\n\n", " \n"], ids=["no_newline", "two_newlines", "a_space"])
def test_refuses_the_ending(ending):
    with pytest.raises(Refused):
        judge(original()[:-1] + ending.encode())


def test_refuses_white_space_in_the_json():
    with pytest.raises(Refused):
        judge(json.dumps(json.loads(original())).encode() + b"\n")


def test_works_out_the_published_example():
    point = judge(original()).points[0]
    assert point.key == "cpu_times_percent_user"
    assert point.checksum == "445f83b058f39d1d3d42dd91f391969d22a2c948deccf40f16c1b13ab05b5677"
