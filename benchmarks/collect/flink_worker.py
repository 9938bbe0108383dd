"""PyFlink: a KeyedProcessFunction with event-time timers, on state by key that checkpoints keep.

Flink's own SQL source reads the topic: it parses the JSON in Java and makes a watermark for each Kafka
partition. The key comes from its rows, so each event crosses from Java to Python once.
"""

from __future__ import annotations

import sys

from flink_cluster import cluster
from flink_function import Follow
from peer_worker import Run
from pyflink.common import Configuration, Types
from pyflink.datastream import StreamExecutionEnvironment
from pyflink.datastream.data_stream import DataStream, KeyedStream
from pyflink.java_gateway import get_gateway
from pyflink.table import StreamTableEnvironment

#: Disorder a partition's watermark allows, as the collector's clock does.
DELAY_S = 10

_SOURCE = """
CREATE TABLE tweets (
  cid STRING, type STRING, t DOUBLE, m DOUBLE, msg STRING,
  event_time AS TO_TIMESTAMP_LTZ(CAST(ROUND(t * 1000) AS BIGINT), 3),
  WATERMARK FOR event_time AS event_time - INTERVAL '{delay_s}' SECOND
) WITH (
  'connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{bootstrap}',
  'properties.group.id' = '{group}', 'scan.startup.mode' = 'earliest-offset',
  'scan.bounded.mode' = 'specific-offsets', 'scan.bounded.specific-offsets' = '{ends}',
  'key.format' = 'raw', 'key.fields' = 'cid', 'value.format' = 'json', 'value.fields-include' = 'EXCEPT_KEY'
)
"""
#: Ticks have moved the watermark by then. What crosses to Python is one text, a tenth faster than a row:
#: time, mark and, of a root, "+" before its text or "-" for none; a retweet's would cross for nothing.
_EVENTS = """
SELECT cid, CONCAT_WS(' ', CAST(t AS STRING), CAST(m AS STRING),
                      IF(type = 'tweet', COALESCE(CONCAT('+', msg), '-'), CAST(NULL AS STRING))) AS event
FROM tweets WHERE type <> 'tick'
"""


def work(run: Run) -> None:
    """Run the job to the end of what is to be read."""
    with cluster(run) as settings:
        configuration = Configuration()
        for name, value in settings.items():
            configuration.set_string(name, value)
        streaming = get_gateway().jvm.org.apache.flink.streaming.api.environment
        # The usual way to an environment starts a cluster of its own in this process.
        env = StreamExecutionEnvironment(streaming.StreamExecutionEnvironment(configuration._j_configuration))
        tables = StreamTableEnvironment.create(env)
        ends = ";".join(f"partition:{partition},offset:{end}" for partition, end in run.ends.items())
        source = _SOURCE.format(
            delay_s=DELAY_S, topic=run.topic, bootstrap=run.bootstrap, group=run.folder.name, ends=ends
        )
        tables.execute_sql(source)
        events = tables.to_data_stream(tables.sql_query(_EVENTS))
        sent = _keyed(events).process(Follow(run.to_json()), Types.STRING())
        # What is sent is counted, or kept, by the function.
        sinks = get_gateway().jvm.org.apache.flink.streaming.api.functions.sink.v2
        sent._j_data_stream.sinkTo(sinks.DiscardingSink())
        env.execute(run.folder.name)


def _keyed(events: DataStream) -> KeyedStream:
    """Key rows of (id, event) in Java.

    ``key_by`` would let a Python function find the key: a second crossing for each event.
    """
    jvm = get_gateway().jvm
    stream, text = events._j_data_stream, Types.STRING()
    stream.getTransformation().setOutputType(Types.ROW([text, text]).get_java_type_info())
    keyed = stream.keyBy(jvm.KeyByKeySelector(), Types.ROW([text]).get_java_type_info())
    return KeyedStream(keyed, text, events)


if __name__ == "__main__":
    work(Run.from_json(sys.argv[1]))
