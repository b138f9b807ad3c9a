# SPDX-License-Identifier: ISC
"""Three real brokers and a controller, each broker behind a proxy, and what may happen to them."""
import os
import shutil
from contextlib import contextmanager

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from harness.ports import free_port

from faults import kafkaadmin
from faults.kafkanode import Broker, Controller
from faults.kafkawire import KafkaWire
from faults.patience import until
from faults.proxy import Proxy

BROKERS = (1, 2, 3)
SETTLING = 120  # s: elections and replication take a while on few cores


def dotted(settings):
    """Settings given as keywords, with _ for the dots."""
    return {name.replace("_", "."): value for name, value in settings.items()}


class KafkaCluster:
    """bootstrap leads through the proxies, direct does not. The controller is a process of its own, so that
    any broker, and two of them, can be away without the cluster's losing its mind."""

    def __init__(self, directory, **properties):
        self.directory = directory
        os.makedirs(directory)
        properties = dotted(properties)
        self.controller = Controller(os.path.join(directory, "controller"), properties)
        self.brokers, self.proxies = {}, {}
        for number in BROKERS:
            port = free_port()
            broker = Broker(os.path.join(directory, f"broker{number}"), number, self.controller, port, properties)
            self.brokers[number] = broker
            self.proxies[number] = Proxy(("127.0.0.1", broker.proxied_port), KafkaWire, port,
                                         f"proxy of kafka{number}")
        self._admin = None

    @property
    def nodes(self):
        return [self.controller, *self.brokers.values()]

    @property
    def bootstrap(self):
        return ",".join(f"127.0.0.1:{proxy.port}" for proxy in self.proxies.values())

    @property
    def direct(self):
        return ",".join(f"127.0.0.1:{broker.port}" for broker in self.brokers.values())

    def create(self):
        for node in self.nodes:
            node.create()
        return self

    def start(self):
        """Starts what does not run, all at once, and returns when all serve and know each other."""
        for node in self.nodes:
            if node.process.alive:
                node.resume()
            node.begin()
        for node in self.nodes:
            node.serves()
        until(lambda: set(self.metadata().brokers) == set(BROKERS), SETTLING, "three brokers", every=0.1)
        return self

    def heal(self):
        """Everything runs and passes again."""
        for proxy in self.proxies.values():
            proxy.heal()
        return self.start()

    def remove(self):
        for proxy in self.proxies.values():
            proxy.close()
        for node in self.nodes:
            node.process.forget()
        shutil.rmtree(self.directory, ignore_errors=True)

    # Looking.

    @property
    def admin(self):
        if self._admin is None:
            self._admin = AdminClient({"bootstrap.servers": self.direct, "log_level": 2})
        return self._admin

    def metadata(self, topic=None):
        return self.admin.list_topics(topic, timeout=20)

    def partitions(self, topic):
        """{number: PartitionMetadata, with leader, replicas and isrs}"""
        return self.metadata(topic).topics[topic].partitions

    def leader(self, topic, partition=0):
        return self.partitions(topic)[partition].leader

    def leading(self, topic, partition=0):
        """The broker object."""
        return self.brokers[self.leader(topic, partition)]

    def wait_leader(self, topic, partition, broker, timeout=SETTLING):
        until(lambda: self.leader(topic, partition) == broker, timeout,
              f"broker {broker} to lead {topic}/{partition}", every=0.1)

    def wait_in_sync(self, topic, replicas=len(BROKERS), timeout=SETTLING):
        """Until each partition has a leader and so many replicas in sync."""
        until(lambda: all(p.leader > 0 and len(p.isrs) >= replicas for p in self.partitions(topic).values()),
              timeout, f"{replicas} replicas of {topic} in sync", every=0.1)

    # Doing.

    def a_port(self):
        """Of a broker that runs."""
        return next(broker.port for broker in self.brokers.values() if broker.process.alive)

    def create_topic(self, name, partitions=4, replicas=3, **config):
        """Returns when every partition has a leader and all replicas."""
        settings = {key: str(value) for key, value in dotted(config).items()}
        topic = NewTopic(name, partitions, replicas, config={"min.insync.replicas": "2", **settings})
        self.admin.create_topics([topic])[name].result(SETTLING)
        until(lambda: len(self.partitions(name)) == partitions, SETTLING, f"{name} to be known", every=0.1)
        self.wait_in_sync(name, replicas)

    def delete_topic(self, name):
        self.admin.delete_topics([name])[name].result(SETTLING)
        until(lambda: name not in self.metadata().topics, SETTLING, f"{name} to be gone", every=0.1)

    def recreate_topic(self, name, partitions=4):
        """Deleted and made again; a producer that asks for it in between may make it first, of so many partitions."""
        self.admin.delete_topics([name])[name].result(SETTLING)
        try:
            self.create_topic(name, partitions)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
            self.wait_in_sync(name)

    @contextmanager
    def open_transaction(self, topic, partitions):
        """While it lasts another producer has a record in each of these that is not committed; it never is."""
        producer = Producer({"bootstrap.servers": self.direct, "transactional.id": "another", "log_level": 2})
        producer.init_transactions(SETTLING)
        producer.begin_transaction()
        for partition in partitions:
            producer.produce(topic, b"another's", partition=partition)
        producer.flush(SETTLING)
        try:
            yield
        finally:
            producer.abort_transaction(SETTLING)

    def add_partitions(self, name, total):
        self.admin.create_partitions([NewPartitions(name, total)])[name].result(SETTLING)
        until(lambda: len(self.partitions(name)) == total, SETTLING, f"{total} partitions", every=0.1)

    def configure_topic(self, name, **config):
        """config: with _ for the dots, None for the default; e.g. max_message_bytes=1000."""
        kafkaadmin.configure_topic(self.a_port(), name, dotted(config))

    def move_leader(self, topic, partition, broker):
        """Another leader without anybody's falling: the replicas in another order, then an election."""
        others = [r for r in self.partitions(topic)[partition].replicas if r != broker]
        kafkaadmin.reassign(self.a_port(), topic, partition, [broker, *others])
        kafkaadmin.elect_preferred(self.a_port(), topic, partition)
        self.wait_leader(topic, partition, broker)

    def reassign(self, topic, partition, replicas):
        """Moves the partition to these brokers, and returns when it is there."""
        kafkaadmin.reassign(self.a_port(), topic, partition, replicas)
        until(lambda: sorted(self.partitions(topic)[partition].isrs) == sorted(replicas)
              == sorted(self.partitions(topic)[partition].replicas), SETTLING,
              f"{topic}/{partition} on {replicas}", every=0.1)

    def rolling_restart(self):
        for broker in self.brokers.values():
            broker.stop()
            broker.start()
            for topic in self.metadata().topics:
                self.wait_in_sync(topic)
