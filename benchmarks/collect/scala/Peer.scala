// The collector's rules on Spark's own keyed state: flatMapGroupsWithState, one state per cascade.
package tweetoscope.bench

import com.fasterxml.jackson.core.{JsonFactory, JsonToken}
import com.fasterxml.jackson.core.io.JsonStringEncoder
import org.apache.spark.sql.{DataFrame, Dataset, Encoder, Encoders}
import org.apache.spark.sql.functions.{col, expr, from_json}
import org.apache.spark.sql.streaming.{GroupState, GroupStateTimeout, OutputMode}
import org.apache.spark.sql.types.StructType
import scala.collection.mutable.ArrayBuffer

/** kind: 0 a tweet, 1 a retweet, 2 a tick, 3 what could not be read. The text crosses the shuffle only where it is needed. */
case class Event(cid: String, kind: Int, t: Double, m: Double, msg: String)
/** Events of the last window are kept until it closes. */
case class Cascade(root: Double, last: Double, size: Long, closed: Int, sent: Int, msg: String, times: Array[Double], marks: Array[Double])
case class Sent(topic: String, key: String, value: String)

/** One cascade as it takes events in order; what it sends goes to `out`. */
final class Follower(cid: String, out: ArrayBuffer[Sent]) {
  import Rules._
  private var open = false
  private var root, last = 0.0
  private var size = 0L
  private var closed, sent, kept = 0
  private var msg: String = null
  private var times, marks = Empty

  def load(s: Cascade): Unit = {
    open = true; root = s.root; last = s.last; size = s.size; closed = s.closed; sent = s.sent; msg = s.msg
    times = s.times; marks = s.marks; kept = times.length
  }
  def isOpen: Boolean = open
  def state: Cascade =
    Cascade(root, last, size, closed, sent, msg, java.util.Arrays.copyOf(times, kept), java.util.Arrays.copyOf(marks, kept))
  def deadline: Double = if (closed < Windows.length) math.min(root + Windows(closed), last + Terminated) else last + Terminated

  def take(e: Event, more: Int): Unit = {
    if (open) advance(e.t)
    if (e.kind == 0) {
      if (open) { letter("repeated_root"); return }
      open = true; root = e.t; last = e.t; size = 0; closed = 0; sent = 0; kept = 0; msg = e.msg; times = Empty; marks = Empty
    } else if (!open || e.t < root) { letter("orphan"); return }
    size += 1; last = math.max(last, e.t)
    if (closed < Windows.length && e.t - root < Windows(Windows.length - 1) && kept < MaxKept) {
      if (kept == times.length) {
        val room = math.max(kept + math.min(more, MaxKept), 2 * kept)
        times = java.util.Arrays.copyOf(times, room); marks = java.util.Arrays.copyOf(marks, room)
      }
      times(kept) = e.t; marks(kept) = e.m; kept += 1
    }
  }

  /** Close the windows, and end the cascade, that are over at this event time. */
  def advance(now: Double): Unit = {
    while (closed < Windows.length && now - root >= Windows(closed)) {
      if (size >= MinSize) { partial(Windows(closed)); sent |= 1 << closed }
      closed += 1
      if (closed == Windows.length) { kept = 0; times = Empty; marks = Empty; msg = null }
    }
    if (now - last >= Terminated) {
      var w = 0
      while (w < Windows.length) { if ((sent & (1 << w)) != 0) total(Windows(w)); w += 1 }
      open = false
    }
  }

  private def partial(window: Double): Unit = {
    var n = kept
    while (n > 0 && times(n - 1) - root >= window) n -= 1
    val b = new java.lang.StringBuilder(160 + 24 * n)
    b.append("{\"type\":\"serie\",\"cid\":\"").append(quoted(cid)).append("\",\"msg\":")
    if (msg == null) b.append("null") else b.append('"').append(quoted(msg)).append('"')
    b.append(",\"T_obs\":").append(window).append(",\"t_root\":").append(root).append(",\"n_obs\":").append(size)
    b.append(",\"truncated\":").append(n < size).append(",\"tweets\":[")
    var i = 0
    while (i < n) { if (i > 0) b.append(','); b.append('[').append(times(i) - root).append(',').append(marks(i)).append(']'); i += 1 }
    out += Sent("cascade_series", cid, b.append("]}").toString)
  }
  private def total(window: Double): Unit = out += Sent("cascade_properties", cid,
    s"""{"type":"size","cid":"${quoted(cid)}","T_obs":$window,"t_root":$root,"n_tot":$size,"t_end":$last}""")
  private def letter(reason: String): Unit =
    out += Sent("dead_letters", cid, s"""{"reason":"$reason","cid":"${quoted(cid)}"}""")
  private def quoted(text: String): String = new String(JsonStringEncoder.getInstance.quoteAsString(text))
}

object Rules {
  val Windows = Array(600.0, 1200.0)
  val Terminated = 1800.0
  val MinSize = 10
  val MaxKept = 100000
  val Empty = Array.emptyDoubleArray
}

object Peer {
  private val json = new JsonFactory()
  private implicit val events: Encoder[Event] = Encoders.product[Event]

  /** Jackson's streaming reader, as Spark's from_json has inside, without the row it would build. */
  private def parse(key: Array[Byte], value: Array[Byte]): Event = {
    var kind = 3; var t, m = Double.NaN; var msg: String = null
    try {
      val p = json.createParser(value)
      if (p.nextToken() == JsonToken.START_OBJECT) while (p.nextToken() == JsonToken.FIELD_NAME) {
        val name = p.currentName(); val token = p.nextToken()
        name match {
          case "type" => kind = p.getText match { case "tweet" => 0; case "retweet" => 1; case "tick" => 2; case _ => 3 }
          case "t" => t = p.getDoubleValue
          case "m" => m = p.getDoubleValue
          case "msg" => if (kind != 1 && token == JsonToken.VALUE_STRING) msg = p.getText
          case _ => p.skipChildren()
        }
      }
      p.close()
    } catch { case _: java.io.IOException | _: IllegalArgumentException => kind = 3 }
    if (t.isNaN || (kind < 2 && (key == null || m.isNaN))) kind = 3
    val cid = if (key == null) "" else new String(key, java.nio.charset.StandardCharsets.UTF_8)
    if (kind == 3) Event(cid, 3, 0, 0, null) else Event(cid, kind, t, m, if (kind == 0) msg else null)
  }

  private def inOrder(events: Array[Event]): Unit = {
    var i = 1
    while (i < events.length && events(i - 1).t <= events(i).t) i += 1
    val tiedRoot = events.length > 1 && events.exists(_.kind == 0) && events(0).kind != 0
    if (i < events.length || tiedRoot)
      java.util.Arrays.sort(events, (a: Event, b: Event) => { val c = java.lang.Double.compare(a.t, b.t); if (c != 0) c else a.kind - b.kind })
  }

  private def follow(cid: String, rows: Iterator[Event], group: GroupState[Cascade]): Iterator[Sent] = {
    val out = new ArrayBuffer[Sent](2)
    val cascade = new Follower(cid, out)
    if (group.exists) cascade.load(group.get)
    if (!group.hasTimedOut) {
      val batch = rows.toArray
      inOrder(batch)
      var i = 0
      while (i < batch.length) { cascade.take(batch(i), batch.length - i); i += 1 }
    }
    val watermarkMs = group.getCurrentWatermarkMs()
    if (cascade.isOpen) cascade.advance(watermarkMs / 1000.0)
    if (cascade.isOpen) {
      group.update(cascade.state)
      group.setTimeoutTimestamp(math.max(math.ceil(cascade.deadline * 1000).toLong, watermarkMs + 1))
    } else if (group.exists) group.remove()
    out.iterator
  }

  /** Events by Jackson, one object a record. */
  private def streamed(records: DataFrame): DataFrame =
    records.select("key", "value").as[(Array[Byte], Array[Byte])](Encoders.tuple(Encoders.BINARY, Encoders.BINARY))
      .map((r: (Array[Byte], Array[Byte])) => parse(r._1, r._2)).toDF()

  /** Events by from_json, as most people write it; one that lacks a field cannot be read. */
  private def fromJson(records: DataFrame): DataFrame = {
    val kind = "case when e.type is null or e.t is null then 3 when e.type = 'tick' then 2 when key is null or e.m is null then 3 " +
      "when e.type = 'tweet' then 0 when e.type = 'retweet' then 1 else 3 end"
    records.select(col("key"), from_json(col("value").cast("string"), StructType.fromDDL("type string, t double, m double, msg string"),
      Map.empty[String, String]).as("e"))
      .selectExpr("cast(key as string) cid", s"$kind kind", "coalesce(e.t, 0) t", "coalesce(e.m, 0) m", "if(e.type = 'tweet', e.msg, null) msg")
  }

  /** Kafka records (key, value) to rows (topic, key, value); no row is dropped if none is later than the delay. */
  def collected(records: DataFrame, delayMs: Long, byFromJson: Boolean): DataFrame = {
    val parsed = (if (byFromJson) fromJson(records) else streamed(records))
      .withColumn("ts", expr("timestamp_micros(cast(t * 1e6 as bigint))"))
      .withWatermark("ts", s"$delayMs milliseconds").where(col("kind") < 2).as[Event]
    val f = (cid: String, rows: Iterator[Event], group: GroupState[Cascade]) => follow(cid, rows, group)
    parsed.groupByKey((e: Event) => e.cid)(Encoders.STRING)
      .flatMapGroupsWithState(OutputMode.Append(), GroupStateTimeout.EventTimeTimeout())(f)(Encoders.product[Cascade], Encoders.product[Sent])
      .toDF()
  }
}
