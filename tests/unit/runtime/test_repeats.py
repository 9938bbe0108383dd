from jobs.runtime.repeats import MAX_REMEMBERED, Repeats


def test_memory_is_bounded_and_forgets_the_oldest():
    repeats = Repeats(bound=3)
    assert [repeats.seen(number) for number in (1, 2, 3, 1, 4)] == [False, False, False, True, False]
    assert len(repeats) == 3
    assert [repeats.seen(number) for number in (1, 2)] == [True, False]


def test_default_bound_covers_many_micro_batches():
    assert MAX_REMEMBERED == 100_000
