# SPDX-License-Identifier: ISC
"""An application that numbers its events, and what an independent consumer has of them: what is missing, twice, out of order."""
import threading

from harness.consumer import Reader

KEYS = 50
EVENT = ("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
         " SELECT 'order', 'k' || n %% %s, 'Happened', jsonb_build_object('n', n) FROM generate_series(%s, %s) n")


class Flow:
    """with Flow(play, broker, rate) as flow: it writes until the end; judge() says what has arrived."""

    def __init__(self, play, broker, rate=500):
        self.play, self.broker, self.step = play, broker, rate // 10
        self.sent, self._ended = 0, threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)

    def _write(self):
        with self.play.database.session() as cursor:
            while not self._ended.wait(0.1):
                cursor.execute(EVENT, (KEYS, self.sent + 1, self.sent + self.step))
                self.sent += self.step

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join(20)

    def write(self, count):
        """These, now, by whoever calls."""
        self.play.database.execute(EVENT, KEYS, self.sent + 1, self.sent + count)
        self.sent += count

    def judge(self):
        reader = Reader(self.broker.bootstrap, "events.order")
        arrived, last, disorder = set(), {}, 0
        records = reader.rest()
        reader.close()
        for record in records:
            number = record.json["n"]
            if number not in arrived:
                disorder += number < last.get(record.key, 0)
                last[record.key] = number
            arrived.add(number)
        self.play.note(f"of {self.sent} events {self.sent - len(arrived)} are missing, {len(records) - len(arrived)} came twice,"
                       f" {disorder} are out of order")
