"""Seeded changes to a post that know its shape: its parts, not its bytes, are what is swapped, dropped or bent."""

import json
import random


class Raw(str):
    """JSON as it stands here."""


class Members(list):
    """An object as a list of [key, value]: a key may stand there twice."""


ODD = [None, True, False, 0, 1, -1, 7, 99, 2, 1.0, 1.5, 2**31, 2**32, 2**63, 2**64, 10**29, 10**30, 10**400]
ODD += [Raw(text) for text in ("1e0", "-0", "99.0", "1e29", "1e30", "1e308", "1e999", "NaN", "Infinity", "-Infinity")]
ODD += ["", "0", "1", "01", "-1", "+1", "1.0", "x", " 1 ", "1_0", "300000", "../x", "NaN", " nan ", "inf", "1e999"]
ODD += ["\ud800", "a\udc00b", "\U0001f600", "é" * 256, "é" * 257, "x" * 512, "x" * 513, "True", "None", "٣"]
ODD += [[], [[]], [0], [0, 1], ["pattoo_value", 1], Members(), Members([["0", 1]]), Members([["a", []]])]


def read(text):
    return json.loads(text, object_pairs_hook=lambda pairs: Members([list(pair) for pair in pairs]))


def write(node, rng=None):
    """As JSON; with `rng` some texts are written with escapes that they do not need, and spaces come in between."""
    space = rng.choice(["", "", "", " ", "\n\t"]) if rng else ""
    if isinstance(node, Raw):
        return str(node)
    if isinstance(node, str):
        text = json.dumps(node)
        if rng and node.isascii() and rng.random() < 0.05:
            text = '"' + "".join(f"\\u{ord(letter):04x}" for letter in node) + '"'
        return text
    if isinstance(node, Members):
        return "{" + ("," + space).join(f"{write(key, rng)}{space}:{write(value, rng)}" for key, value in node) + "}"
    if isinstance(node, list):
        return "[" + ("," + space).join(write(item, rng) for item in node) + "]"
    return json.dumps(node)


def _places(node, found):
    """Every (container, index) whose value can be changed; index 1 of a member is its value."""
    for at, item in enumerate(node):
        if isinstance(node, Members):
            found.append((item, 1))
            item = item[1]
        else:
            found.append((node, at))
        if isinstance(item, list):
            _places(item, found)
    return found


def _containers(node):
    inner = [holder[at] for holder, at in _places(node, [])]
    return [node] + [item for item in inner if isinstance(item, list)]


def _odd(rng):
    # A copy: what stands in two places must not change in both.
    return _copy(rng.choice(ODD))


def _copy(node):
    if isinstance(node, Members):
        return Members([[key, _copy(value)] for key, value in node])
    return [_copy(item) for item in node] if isinstance(node, list) else node


def _bend(post, rng):
    holder, at = rng.choice(_places(post, []))
    holder[at] = _odd(rng)


def _bend_a_pair(post, rng):
    """One of a pair's two members: where most of the rules are."""
    pairs = [item for item in _containers(post) if len(item) == 2 and isinstance(item[0], str)]
    if pairs:
        rng.choice(pairs)[0 if rng.random() < 0.15 else 1] = _odd(rng)


def _move(post, rng):
    """A part of the post in the place of another."""
    places = _places(post, [])
    (holder, at), (other, there) = rng.choice(places), rng.choice(places)
    holder[at] = _copy(other[there])


def _drop(post, rng):
    container = rng.choice(_containers(post))
    if container:
        container.pop(rng.randrange(len(container)))


def _shuffle(post, rng):
    rng.shuffle(rng.choice(_containers(post)))


def _insert(post, rng):
    container = rng.choice(_containers(post))
    at = rng.randrange(len(container) + 1)
    if isinstance(container, Members):
        key = rng.choice([key for key, _ in container] or ["0"])
        container.insert(at, [key, _odd(rng)])
    else:
        container.insert(at, rng.choice([_odd(rng), rng.randrange(60)]))


def _rename(post, rng):
    objects = [item for item in _containers(post) if isinstance(item, Members) and item]
    keys = [key for item in objects for key, _ in item]
    rng.choice(rng.choice(objects))[0] = rng.choice(keys + ["x", "\ud800", ""])


def _again(post, rng):
    """A member a second time, with another value, before or after the first."""
    objects = [item for item in _containers(post) if isinstance(item, Members) and item]
    chosen = rng.choice(objects)
    key, value = rng.choice(chosen)
    chosen.insert(rng.randrange(len(chosen) + 1), [key, rng.choice([_copy(value), _odd(rng)])])


KINDS = [_bend, _bend_a_pair, _bend_a_pair, _bend_a_pair, _move, _drop, _shuffle, _insert, _rename, _again]


def mutated(text, seed):
    """The post, changed one to three times."""
    rng = random.Random(seed)
    post = read(text)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        if post:
            rng.choice(KINDS)(post, rng)
    return write(post, rng).encode()
