"""Kafka as the tests use it: kcat, and Apache Kafka's own tools for topics."""

import json
import pathlib
import shutil
import subprocess

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

ROOT = pathlib.Path(__file__).resolve().parents[2]


def kcat(bootstrap, *args, data=None, timeout=60):
    """Run kcat; its standard output as bytes."""
    tool = shutil.which("kcat") or shutil.which("kafkacat")
    done = subprocess.run([tool, "-b", bootstrap, *map(str, args)], input=data, capture_output=True, timeout=timeout)
    assert done.returncode == 0, f"kcat {' '.join(map(str, args))} ended with {done.returncode}: {done.stderr.decode()}"
    return done.stdout


def answers(bootstrap):
    """Whether a broker answers."""
    try:
        return bool(AdminClient({"bootstrap.servers": bootstrap, "log_level": 0}).list_topics(timeout=2).brokers)
    except KafkaException:
        return False


def produce(bootstrap, topic, value, partition=None, flags=()):
    """Produce one record. `value` is bytes or an object that becomes JSON."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    where = ["-p", partition] if partition is not None else []
    # A delimiter that no value holds: the whole input is one record.
    kcat(bootstrap, "-P", "-t", topic, *where, "-D", "\x1e", *flags, data=data)


def placed_records(bootstrap, topic):
    """All records of a topic as (partition, offset, value); values are bytes without a line break."""
    text = kcat(bootstrap, "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-f", "%p %o %s\n", timeout=300)
    parts = (line.split(b" ", 2) for line in text.split(b"\n") if line)
    return [(int(partition), int(offset), value) for partition, offset, value in parts]


def records(bootstrap, topic):
    """All values of a topic, as bytes, partition by partition."""
    return [value for _, _, value in placed_records(bootstrap, topic)]


def tool(name, bootstrap, *args):
    """One of Apache Kafka's own tools, such as TopicCommand."""
    command = [ROOT / "scripts" / "kafka", "tool", name, "--bootstrap-server", bootstrap, *args]
    done = subprocess.run(list(map(str, command)), capture_output=True, timeout=60)
    assert done.returncode == 0, f"{name} {args}: {done.stdout.decode()}{done.stderr.decode()}"
    return done.stdout.decode()


def make_topic(bootstrap, topic, partitions=1, **config):
    """A new topic; `config` are settings of the topic, with _ for their dots."""
    settings = [word for name, value in config.items() for word in ("--config", f"{name.replace('_', '.')}={value}")]
    tool("TopicCommand", bootstrap, "--create", "--topic", topic, "--partitions", partitions, "--replication-factor", 1,
         *settings)


def delete_topic(bootstrap, topic):
    tool("TopicCommand", bootstrap, "--delete", "--topic", topic)


def has_topic(bootstrap, topic):
    return topic in AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=10).topics


def add_partitions(bootstrap, topic, partitions):
    tool("TopicCommand", bootstrap, "--alter", "--topic", topic, "--partitions", partitions)


def delete_records(bootstrap, topic, before, folder, partition=0):
    """As retention does: the log of the partition begins at `before`."""
    wanted = {"partitions": [{"topic": topic, "partition": partition, "offset": before}], "version": 1}
    file = folder / "records.json"
    file.write_text(json.dumps(wanted))
    tool("DeleteRecordsCommand", bootstrap, "--offset-json-file", file)
