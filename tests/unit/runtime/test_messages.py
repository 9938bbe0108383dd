import msgspec
import pytest

from jobs.runtime.messages import Alert, Stat

ALERT = (
    b'{"type":"alert","cid":"a","msg":null,"T_obs":600,"t_root":12.5,"n_tot":250.5,"n_tot_median":300,'
    b'"n_tot_kn":200,"n_tot_hawkes":1e9,"n_obs":40,"interval":[1,2.5],"calibrated":true,'
    b'"mid":null,"model_version":"v3","X":{"log_n":1}}'
)


def test_alert_is_read_and_fields_it_does_not_need_are_ignored():
    read = msgspec.json.decode(ALERT, type=Alert)
    assert (read.cid, read.window_s, read.popularity, read.interval) == ("a", 600, 300, (1, 2.5))
    assert read.identity == ("a", 600, 12.5)


def test_stat_has_the_errors_that_are_known():
    read = msgspec.json.decode(
        b'{"type":"stat","cid":"a","T_obs":600,"ARE":0.5,"ARE_hawkes":null}', type=Stat
    )
    assert (read.error, read.hawkes_error, read.kn_error) == (0.5, None, None)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"alert"', b'"stat"'),
        (b'"cid":"a"', b'"cid":""'),
        (b'"cid":"a"', b'"cid":7'),
        (b'"T_obs":600', b'"T_obs":-600'),
        (b'"n_tot":250.5', b'"n_tot":-1'),
        (b'"n_tot":250.5', b'"n_tot":1e999'),
        (b'"n_tot":250.5', b'"n_tot":null'),
        (b"[1,2.5]", b"[1]"),
        (b'"n_obs":40,', b""),
    ],
)
def test_alert_that_does_not_fit_is_refused(old, new):
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(ALERT.replace(old, new), type=Alert)
