from chispa import assert_df_equality
from pyspark.sql import functions as F

from jobs.runtime.streams import with_schema_header
from tests.spark.builders import records


def test_every_record_gets_the_schema_header_and_nothing_else(spark):
    sent = with_schema_header(records(spark, [b"1", None], "alerts"))
    assert sent.columns == ["topic", "key", "value", "headers"]
    found = sent.select("topic", "value", F.explode("headers").alias("header")).select(
        "topic", "value", "header.key", F.col("header.value").alias("version")
    )
    rows = [("alerts", b"1", "schema", b"1"), ("alerts", None, "schema", b"1")]
    expected = spark.createDataFrame(rows, "topic string, value binary, key string, version binary")
    assert_df_equality(found, expected, ignore_nullable=True)
