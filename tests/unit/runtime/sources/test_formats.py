import gzip
import re
from pathlib import Path

import numpy as np
import pytest

from jobs.runtime.sources.cascades import Cascades, SourceError
from jobs.runtime.sources.formats import read_cascades
from udfs.ragged import Ragged

REAL = Path(__file__).resolve().parents[4] / "../shared/data/tideh_seismic100.events.csv.gz"
NEWS_DATA = "time,magnitude,msg\n0,100,first\n5,2,\n0,7,second\n3,1,\n9,4,\n"
NEWS_INDEX = "start_ind,end_ind\n1,2\n3,5\n"
SEISMIC_DATA = "relative_time_second,number_of_followers\n0,100\n5,2\n0,7\n3,1\n"
SEISMIC_INDEX = "tweet_id,post_time_day,start_ind,end_ind\n123456789012345678901,0.5,1,2\nb,1.25,3,4\n"


def write(folder, name, text):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def lists(cascades):
    offsets = cascades.events.offsets
    return [
        (cid, text, cascades.events.times_s[a:b].tolist(), cascades.events.marks[a:b].tolist())
        for cid, text, a, b in zip(cascades.ids, cascades.texts, offsets[:-1], offsets[1:], strict=True)
    ]


def test_interleaved_unsorted_events_become_sorted_cascades_from_their_root(tmp_path):
    path = write(tmp_path, "e.csv", "cascade,t_s,followers\nb,15,3\na,7,1\nb,10,2\na,7,5\n")
    assert lists(read_cascades([path], 512)) == [
        ("b", None, [0.0, 5.0], [2.0, 3.0]),
        ("a", None, [0.0, 0.0], [1.0, 5.0]),
    ]


def test_columns_may_come_in_any_order_with_others_between(tmp_path):
    path = write(tmp_path, "e.csv", '\ufefffollowers,"x", t_s,cascade\n3,?,1e1,"a,""b"\n')
    assert lists(read_cascades([path], 512)) == [('a,"b', None, [0.0], [3.0])]


def test_gzipped_events_are_read(tmp_path):
    path = write(tmp_path, "e.csv.gz", gzip.compress("cascade,t_s,followers\né,1,2\n".encode()))
    assert lists(read_cascades([path], 512)) == [("é", None, [0.0], [2.0])]


def test_only_the_roots_text_is_kept(tmp_path):
    path = write(tmp_path, "e.csv", 'cascade,t_s,followers,msg\na,5,1,late\na,2,1,"two\nlines"\n')
    assert read_cascades([path], 512).texts == ["two\nlines"]


@pytest.mark.parametrize(
    "named", [["news-data.csv"], ["news-index.csv"], ["news-index.csv", "news-data.csv"]]
)
def test_news_pair_is_read_whichever_file_is_named(tmp_path, named):
    write(tmp_path, "news-data.csv", NEWS_DATA)
    write(tmp_path, "news-index.csv", NEWS_INDEX)
    write(tmp_path, "data.csv", SEISMIC_DATA)
    assert lists(read_cascades([tmp_path / name for name in named], 512)) == [
        ("news-1", "first", [0.0, 5.0], [100.0, 2.0]),
        ("news-2", "second", [0.0, 3.0, 9.0], [7.0, 1.0, 4.0]),
    ]


@pytest.mark.parametrize(("data", "index"), [("data.csv", "index.csv"), ("rows.csv", "cuts.csv")])
def test_seismic_pair_is_found_by_name_or_header_and_keeps_long_ids(tmp_path, data, index):
    write(tmp_path, data, SEISMIC_DATA)
    write(tmp_path, index, SEISMIC_INDEX)
    for named in (data, index):
        assert lists(read_cascades([tmp_path / named], 512)) == [
            ("123456789012345678901", None, [0.0, 5.0], [100.0, 2.0]),
            ("b", None, [0.0, 3.0], [7.0, 1.0]),
        ]


def test_ranges_may_overlap_and_leave_rows_out(tmp_path):
    write(tmp_path, "news-data.csv", "time,magnitude\n0,1\n1,2\n2,3\n3,4\n")
    path = write(tmp_path, "news-index.csv", "start_ind,end_ind\n3,3\n1,3\n")
    assert lists(read_cascades([path], 512)) == [
        ("news-1", None, [0.0], [3.0]),
        ("news-2", None, [0.0, 1.0, 2.0], [1.0, 2.0, 3.0]),
    ]


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("cascade,t_s,followers\na,1,2\na,NaN,2\n", 3, "t_s must be a finite number"),
        ("cascade,t_s,followers\na,1,-2\n", 2, "followers must be a finite number, not negative, got -2"),
        ("cascade,t_s,followers\na,inf,2\n", 2, "finite"),
        ("cascade,t_s,followers\na,1,2\n\na,x,2\n", 4, "t_s must be a number, got 'x'"),
        ("cascade,t_s,followers\na,1,\n", 2, "followers must be a number, got ''"),
        ('cascade,t_s,followers,msg\na,1,2,"x\ny"\na,-1,2,z\n', 4, "not negative"),
        ("cascade,t_s,followers\na,1,2\n\na,2\n", 4, "2 fields where the header has 3"),
        ("cascade,t_s,followers\n,1,2\n", 2, "an id must have 1 to 512 bytes, this one has 0"),
        ("cascade,t_s,followers\n" + "é" * 257 + ",1,2\n", 2, "this one has 514"),
        ("cascade,t_s\na,1\n", 1, "its header is none of"),
        ("cascade,t_s,followers,t_s\na,1,2,3\n", 1, "more than one column t_s"),
        (b"cascade,t_s,followers\na,1,2\n\xff,1,2\n", 3, "not UTF-8"),
        ("", 1, "its header is none of"),
    ],
)
def test_bad_row_is_refused_with_its_line(tmp_path, text, line, reason):
    path = write(tmp_path, "e.csv", text)
    with pytest.raises(SourceError, match=rf"e\.csv, line {line}: .*{re.escape(reason)}"):
        read_cascades([path], 512)


def test_events_file_without_rows_is_refused(tmp_path):
    with pytest.raises(SourceError, match="no row"):
        read_cascades([write(tmp_path, "e.csv", "cascade,t_s,followers\n")], 512)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("1,6", "end_ind must be a row from 1 to 5, got 6"),
        ("0,2", "start_ind must be a row from 1 to 5, got 0"),
        ("2,1", "end_ind 1 comes before start_ind 2"),
        ("1.5,2", "start_ind must be a row from 1 to 5, got 1.5"),
    ],
)
def test_range_outside_the_data_is_refused_with_its_line(tmp_path, row, reason):
    write(tmp_path, "news-data.csv", NEWS_DATA)
    path = write(tmp_path, "news-index.csv", f"start_ind,end_ind\n1,2\n{row}\n")
    with pytest.raises(SourceError, match=f"news-index.csv, line 3: {reason}"):
        read_cascades([path], 512)


def test_repeated_tweet_id_is_refused(tmp_path):
    write(tmp_path, "data.csv", SEISMIC_DATA)
    index = "tweet_id,post_time_day,start_ind,end_ind\na,0,1,2\nb,0,3,3\na,0,4,4\n"
    with pytest.raises(SourceError, match=r"index.csv, line 4: id 'a' is there already"):
        read_cascades([write(tmp_path, "index.csv", index)], 512)


def test_half_a_pair_says_what_is_missing(tmp_path):
    with pytest.raises(SourceError, match="columns start_ind, end_ind is not beside it"):
        read_cascades([write(tmp_path, "news-data.csv", NEWS_DATA)], 512)


def test_files_of_two_pairs_do_not_go_together(tmp_path):
    news = write(tmp_path, "news-data.csv", NEWS_DATA)
    seismic = write(tmp_path, "index.csv", SEISMIC_INDEX)
    with pytest.raises(SourceError, match="does not belong to news-data"):
        read_cascades([news, seismic], 512)


def test_missing_and_broken_files_are_refused(tmp_path):
    broken = write(tmp_path, "e.csv.gz", gzip.compress(b"cascade,t_s,followers\na,1,2\n" * 999)[:-30])
    for path in (tmp_path / "none.csv", broken, tmp_path):
        with pytest.raises(SourceError, match="cannot be read"):
            read_cascades([path], 512)


def test_cascades_refuse_a_text_too_few():
    with pytest.raises(ValueError, match="one id and one text"):
        Cascades(["a"], [], Ragged.from_lists([[0.0]], [[1.0]]))


def test_real_cascades_are_read_whole():
    if not REAL.is_file():
        pytest.skip("the real cascades are not beside the project")
    cascades = read_cascades([REAL], 512)
    assert (len(cascades), cascades.events.offsets[-1], cascades.events.marks.min()) == (100, 395_087, 0.0)
    assert cascades.ids[0] == "RT1"
    np.testing.assert_array_equal(cascades.events.times_s[:3], [0.0, 292.0, 306.0])
    np.testing.assert_array_equal(cascades.events.marks[:3], [90.0, 433344.0, 39.0])
