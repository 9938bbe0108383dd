"""The services of Tweetoscope: one file each, started alone, by the demo or by Spark's operator."""
