"""Percentages over the interval that each poller names, while others ask: exact numbers, from a /proc/stat that changes."""

import threading
import time

from support import by_psutil, hosts, waiting
from test_psutil import asked, different

STEP = 10
# Where the sample that counts lies close to the interval's edge, either side is right.
EDGE = 0.5
SAMPLES = "pattoo_spoke_ring_samples_total"

# Ticks by mode at the start, and what is added to them after each sample: no two spans give the same percentages.
START = [1000, 200, 300, 50000, 40, 5, 6, 7, 8, 9]
ADDED = [
    [100, 0, 20, 880, 0, 0, 0, 0, 0, 0],
    [300, 10, 40, 620, 20, 1, 4, 5, 50, 5],
    [7, 3, 700, 250, 30, 2, 3, 5, 1, 1],
    [950, 1, 9, 10, 20, 3, 3, 4, 400, 0],
    [1, 0, 2, 96, 1, 0, 0, 0, 0, 0],
]


class Changing:
    """A made-up host whose `stat` moves on, and a copy of the model that the spoke's samples follow."""

    def __init__(self, rig, folder):
        self.host = hosts.made("no_psi", folder)
        self.ticks = START
        self.write()
        # What the file said when each sample was taken, and the two times between which that was.
        self.sampled = []
        before = time.monotonic()
        self.spoke = rig.spoke(environment=self.host.environment())
        assert self.samples() == 1, "one sample at the start"
        self.sampled.append((self.text(), before, time.monotonic()))

    def text(self):
        return self.host.read("stat")

    def write(self):
        line = " ".join(map(str, self.ticks))
        self.host.write("stat", f"cpu  {line}\ncpu0 {line}\nintr 1000 1\nctxt 2000\nbtime 1700000000\nprocesses 10\nsoftirq 3000 1\n")

    def samples(self):
        return int(self.spoke.metrics().sum(SAMPLES))

    def move_on(self, added):
        self.ticks = [before + more for before, more in zip(self.ticks, added)]
        self.write()

    def wait_sample(self, meanwhile):
        """Until one more sample was taken; `meanwhile` is called again and again. `stat` stands still all the while."""
        seen = time.monotonic()

        def taken():
            nonlocal seen
            before = time.monotonic()
            if self.samples() > len(self.sampled):
                return True
            seen = before
            meanwhile()
            return False

        waiting.until(taken, STEP + 5, self.spoke.log)
        self.sampled.append((self.text(), seen, time.monotonic()))
        assert self.samples() == len(self.sampled), "one sample each ten seconds"

    def ask(self, interval):
        """Asks for the percentages over an interval; they must be those of the span that the model says."""
        before = time.monotonic()
        values = asked(self.spoke, interval).values()
        after = time.monotonic()
        now = self.text()
        wrong = [
            different(values, by_psutil.percentages(text, now)) for text in self.may_be_compared_with(interval, before, after)
        ]
        assert {} in wrong, f"over {interval} s: (the spoke's, worked out here) {wrong}"
        return {name: value for name, value in values.items() if name[0].startswith("cpu_times_percent_")}

    def may_be_compared_with(self, interval, before, after):
        """The newest sample at least the interval old, else the oldest; more than one only near the edge."""
        found = []
        for text, earliest, latest in reversed(self.sampled):
            if after - earliest < interval - EDGE:
                continue
            found.append(text)
            if before - latest >= interval + EDGE:
                return found
        return found or [self.sampled[0][0]]


def test_two_pollers_and_a_page_see_the_percentages_of_their_own_interval(rig, tmp_path):
    changing = Changing(rig, tmp_path / "host")
    refreshed = [0.0]
    pages = []

    def page():
        """A page refreshed each second."""
        if time.monotonic() - refreshed[0] >= 1:
            refreshed[0] = time.monotonic()
            pages.append(changing.ask(1))

    for added in ADDED[:3]:
        # Right behind a sample, so that the next one is of this text.
        changing.move_on(added)
        for interval in (300, 5, 300):
            changing.ask(interval)
        changing.wait_sample(page)
    changing.move_on(ADDED[3])

    # A moment behind the fourth sample: each interval has a span of its own, whoever asked in between.
    alone = {interval: changing.ask(interval) for interval in (5, 15, 25, 300)}
    assert len({tuple(values.values()) for values in (alone[5], alone[15], alone[25])}) == 3, "the spans differ"
    assert alone[300] == alone[25], "the oldest that there is"
    for interval in (5, 300, 15, 5, 25, 1, 300, 1, 15, 5):
        assert changing.ask(interval).keys() == alone[5].keys()
        if interval in alone:
            assert changing.ask(interval) == alone[interval], "who else asks changes nothing"
    assert time.monotonic() - changing.sampled[-1][1] < 4, "too slow a machine for these intervals"
    waiting.until(lambda: page() or time.monotonic() - changing.sampled[-1][2] > 2.5, 5, "the page is of another span by now")
    assert pages[-1] == changing.ask(2)
    print(f"{len(pages)} pages, {len({tuple(page.values()) for page in pages})} different ones")
    assert len(pages) >= 25
    # Once more after the pages.
    assert changing.ask(300) == alone[300] and changing.ask(25) == alone[25]


def test_right_after_the_start_it_is_what_passed_since(rig, tmp_path):
    changing = Changing(rig, tmp_path / "host")
    changing.move_on(ADDED[0])
    first = changing.ask(300)
    assert first == changing.ask(5) == changing.ask(31_536_000)
    assert first["cpu_times_percent_user", ()] == 10.0 and first["cpu_times_percent_idle", ()] == 88.0
    changing.move_on(ADDED[4])
    assert changing.ask(5) == changing.ask(300) != first


def test_who_asks_at_the_same_time_shares_a_reading_of_the_interval_that_it_names(rig):
    spoke = rig.spoke()
    before = spoke.metrics().sum("pattoo_spoke_collections_total")
    gate, answers = threading.Barrier(60), []

    def ask(interval):
        gate.wait()
        began = time.time_ns() // 1_000_000
        answers.append((interval, began, asked(spoke, interval)))

    threads = [threading.Thread(target=ask, args=(interval,)) for interval in (60, 300, 900) * 20]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 60
    for interval, began, post in answers:
        assert post.interval == interval * 1000
        assert post.timestamp >= began, "never a reading that was begun before it was asked for"
    shared = {(post.interval, post.timestamp) for _, _, post in answers}
    read = spoke.metrics().sum("pattoo_spoke_collections_total") - before
    assert len(shared) <= read < 60, "askers of one interval share"
