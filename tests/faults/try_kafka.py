# SPDX-License-Identifier: ISC
"""Every rule and every fault once on the real brokers; called by try_cluster.py."""
import time

from confluent_kafka import KafkaException, Producer


class Trial:
    def __init__(self, kafka):
        self.kafka = kafka
        self.topic = "tried"

    def producer(self, **more):
        return Producer({"bootstrap.servers": self.kafka.bootstrap, "client.id": "tried", "acks": "all",
                         "enable.idempotence": True, "linger.ms": 0, "message.timeout.ms": 60000,
                         "socket.timeout.ms": 3000, "log_level": 2,
                         **{k.replace("_", "."): v for k, v in more.items()}})

    def send(self, producer=None, value=b"x", partition=0, topic=None):
        """[error or None], which gets its element with the delivery report."""
        told = []
        producer = producer or self.keep
        producer.produce(topic or self.topic, value, partition=partition,
                         on_delivery=lambda error, _: told.append(error))
        producer.poll(0)
        return told

    def delivered(self, *args, **named):
        """Sends one, waits, and gives the error."""
        told = self.send(*args, **named)
        try:
            self.keep.flush(60)
        except KafkaException as fatal:  # the producer is of no more use
            return fatal.args[0]
        assert told, "no delivery report"
        return told[0]

    @property
    def proxy(self):
        """Of the leader."""
        return self.kafka.proxies[self.kafka.leader(self.topic)]

    # Rules.

    def version(self):
        assert self.delivered() is None
        passed = self.proxy.wait_for("Produce", answered=True, where={"client_id": "tried"})
        print(f"  kafka: Produce version {passed.message.facts['version']}, {passed.message.facts}")

    def hold_answer(self):
        with self.proxy.hold(at="Produce", when="after", where={"client_id": "tried"}) as held:
            told = self.send()
            held.wait()
            self.keep.poll(0.3)
            assert told == []
        self.keep.flush(30)
        assert told == [None]

    def cut_drop_delay(self):
        for rule in (self.proxy.cut(at="Produce", when="after"), self.proxy.cut(at="Produce"),
                     self.proxy.delay(300, at="Produce"), self.proxy.throttle(100_000)):
            with rule:
                assert self.delivered() is None
                rule.wait()
        with self.proxy.drop(at="Produce", direction="both") as rule:  # until socket.timeout.ms
            assert self.delivered() is None
            rule.wait()

    def refuse(self):
        proxy = self.proxy
        with proxy.refuse():
            proxy.cut()
            told = self.send()
            self.keep.poll(0.5)
            assert told == []
        self.keep.flush(30)
        assert told == [None]

    def errors(self):
        for error, written, fails in (
                ("NOT_LEADER_OR_FOLLOWER", False, False), ("NOT_LEADER_OR_FOLLOWER", True, False),
                ("NOT_ENOUGH_REPLICAS", False, False), ("NOT_ENOUGH_REPLICAS_AFTER_APPEND", True, False),
                ("INVALID_RECORD", False, True), ("TOPIC_AUTHORIZATION_FAILED", False, True),
                ("OUT_OF_ORDER_SEQUENCE", False, None), ("UNKNOWN_PRODUCER_ID", False, None)):
            self.keep = self.producer()
            assert self.delivered() is None
            with self.proxy.fail(error, self.topic, written) as rule:
                told = self.delivered()
                rule.wait()
            print(f"  kafka: {error}{' though written' if written else ''}: {told}", flush=True)
            assert fails is None or (told is not None) == fails
        self.keep = self.producer()

    def transaction(self):
        producer = self.producer(transactional_id="tried")
        producer.init_transactions(30)
        producer.begin_transaction()
        producer.produce(self.topic, b"in a transaction", partition=0)
        rules = [proxy.hold(at="EndTxn commit", when="after") for proxy in self.kafka.proxies.values()]
        try:
            producer.commit_transaction(2)
            raise AssertionError("committed though the answer was held")
        except KafkaException:
            assert any(rule.fired for rule in rules)
        for rule in rules:
            rule.release()
        producer.commit_transaction(30)

    # Faults.

    def leaders(self):
        leader = self.kafka.leader(self.topic)
        other = leader % 3 + 1
        self.kafka.move_leader(self.topic, 0, other)
        assert self.delivered() is None
        self.kafka.brokers[other].kill()
        assert self.delivered() is None
        self.kafka.brokers[other].start()
        self.kafka.wait_in_sync(self.topic)

    def pause_and_stop(self):
        for away, back in (("pause", "resume"), ("stop", "start")):
            broker = self.kafka.leading(self.topic)
            getattr(broker, away)()
            assert self.delivered() is None
            getattr(broker, back)()
            self.kafka.wait_in_sync(self.topic)

    def two_away(self):
        """NOT_ENOUGH_REPLICAS, for as long as it lasts."""
        leader = self.kafka.leader(self.topic)
        for number in set(self.kafka.brokers) - {leader}:
            self.kafka.brokers[number].kill()
        told = self.send()
        self.kafka.proxies[leader].wait_for(lambda m: m.answer == "error 19", answered=True, timeout=30)
        assert told == []
        self.kafka.start()
        self.keep.flush(60)
        assert told == [None]
        self.kafka.wait_in_sync(self.topic)

    def topics(self):
        self.kafka.create_topic("moved", 2, 2)
        one, two = self.kafka.partitions("moved")[0].replicas
        third, = set(self.kafka.brokers) - {one, two}
        self.kafka.reassign("moved", 0, [third, one])
        self.kafka.add_partitions("moved", 5)
        assert self.delivered(topic="moved") is None
        self.kafka.configure_topic("moved", max_message_bytes=1000)
        deadline = time.monotonic() + 20
        while self.delivered(topic="moved", value=b"x" * 5000) is None:
            assert time.monotonic() < deadline
        self.kafka.configure_topic("moved", max_message_bytes=None)
        self.kafka.delete_topic("moved")
        self.kafka.create_topic("moved", 1)
        self.keep = self.producer()
        assert self.delivered(topic="moved") is None

    STEPS = ("version", "hold_answer", "cut_drop_delay", "refuse", "errors", "transaction", "leaders",
             "pause_and_stop", "two_away", "topics")

    def run(self):
        self.kafka.create_topic(self.topic, 1)
        self.keep = self.producer()
        for name in self.STEPS:
            began = time.monotonic()
            getattr(self, name)()
            print(f"  kafka: {name}: {time.monotonic() - began:.1f} s", flush=True)
