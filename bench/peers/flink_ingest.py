"""The peer of `bench/run ingest`: PyFlink over the same topic and windows. Prints one JSON object.

    flink_ingest.py BOOTSTRAP TOPIC JAR EVENTS PARTITIONS

Flink takes one window in a query, so the features are three queries over one reading of the topic, into sinks that drop what they get.
State is in RocksDB and nothing is checkpointed, which is the cheapest way that outgrows memory. Parallelism is the machine's cores.
It reads half of the events, then all of them; the difference of both runs is what a half costs without start-up and compilation.
"""

import json
import os
import pathlib
import subprocess
import sys
import time

from pyflink.table import EnvironmentSettings, TableEnvironment

WINDOWS = {"minute": "INTERVAL '1' MINUTE", "hour": "INTERVAL '1' HOUR", "day": "INTERVAL '1' DAY"}
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def java():
    """The JVM that PyFlink started."""
    return int(subprocess.run(["pgrep", "-P", str(os.getpid()), "java"], capture_output=True, text=True, check=True).stdout.split()[0])


def cpu_seconds(process):
    fields = pathlib.Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND


def run(bootstrap, topic, jar, events, partitions):
    table = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
    for name, value in {"pipeline.jars": f"file://{jar}", "parallelism.default": str(os.cpu_count()), "state.backend.type": "rocksdb",
                        "taskmanager.memory.managed.size": "512mb", "table.exec.source.idle-timeout": "1 s"}.items():
        table.get_config().set(name, value)
    ends = ";".join(f"partition:{number},offset:{events // partitions}" for number in range(partitions))
    table.execute_sql(f"""CREATE TABLE shop (
        event_id STRING, user_id STRING, amount DOUBLE, quantity BIGINT, country STRING, device STRING, is_new BOOLEAN, `session` STRING,
        page STRING, `at` BIGINT, ts AS TO_TIMESTAMP_LTZ(`at` / 1000, 3), WATERMARK FOR ts AS ts - INTERVAL '1' MINUTE
    ) WITH ('connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{bootstrap}', 'format' = 'json',
            'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'specific-offsets',
            'scan.bounded.specific-offsets' = '{ends}')""")
    statements = table.create_statement_set()
    for name, length in WINDOWS.items():
        table.execute_sql(f"""CREATE TABLE {name}_sink (user_id STRING, ts TIMESTAMP_LTZ(3), n BIGINT, s DOUBLE, a DOUBLE, m DOUBLE)
            WITH ('connector' = 'blackhole')""")
        statements.add_insert_sql(f"""INSERT INTO {name}_sink SELECT user_id, ts, count(*) OVER w, sum(amount) OVER w, avg(amount) OVER w,
            max(amount) OVER w FROM shop
            WINDOW w AS (PARTITION BY user_id ORDER BY ts RANGE BETWEEN {length} PRECEDING AND CURRENT ROW)""")
    process = java()
    began, cpu = time.monotonic(), cpu_seconds(process)
    statements.execute().wait()
    return time.monotonic() - began, cpu_seconds(process) - cpu


def main():
    bootstrap, topic, jar, events, partitions = *sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5])
    # What is compiled once is compiled here.
    run(bootstrap, topic, jar, events // 20, partitions)
    half_s, half_cpu_s = run(bootstrap, topic, jar, events // 2, partitions)
    all_s, all_cpu_s = run(bootstrap, topic, jar, events, partitions)
    print(json.dumps({"records": events - events // 2, "seconds": all_s - half_s, "cpu_seconds": all_cpu_s - half_cpu_s}))


if __name__ == "__main__":
    main()
