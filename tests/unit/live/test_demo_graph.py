"""The demo's graph: the same every time, long-tailed, with interest to learn and entities that come and go."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from embsnap.errors import ErrorKind, UsageError
from embsnap.live.demo_graph import RELATIONS, draw_day, make_graph
from embsnap.live.demo_values import DemoOptions

OPTIONS = DemoOptions(num_users=400, num_posts=300, num_events=60_000)


def test_the_same_seed_gives_the_same_events_and_another_seed_others() -> None:
    first, again = (draw_day(make_graph(OPTIONS), 1) for _ in range(2))
    other = draw_day(make_graph(DemoOptions(num_users=400, num_posts=300, num_events=60_000, seed=8)), 1)
    for field in fields(first):
        assert np.array_equal(getattr(first, field.name), getattr(again, field.name))
    assert not np.isin(other.user_ids_E, first.user_ids_E).any()


@pytest.mark.parametrize("kind", ["user", "post"])
def test_a_fifth_of_the_entities_is_exchanged_between_the_days(kind: str) -> None:
    graph = make_graph(OPTIONS)
    one, two = (set(getattr(draw_day(graph, day), f"{kind}_ids_E").tolist()) for day in (1, 2))
    assert len(one - two) == pytest.approx(0.2 * len(one), rel=0.1)
    assert len(two - one) == pytest.approx(0.2 * len(two), rel=0.1)


def test_popularity_has_a_long_tail() -> None:
    events = draw_day(make_graph(OPTIONS), 1)
    counts = np.sort(np.unique(events.user_ids_E, return_counts=True)[1])[::-1]
    assert counts[: len(counts) // 10].sum() > 0.3 * len(events)
    assert counts[len(counts) // 2 :].sum() < 0.3 * len(events)


def test_users_keep_to_few_topics() -> None:
    graph = make_graph(OPTIONS)
    events = draw_day(graph, 1)
    topic_of = dict(zip(graph.post_ids_N.tolist(), graph.post_topics_N.tolist(), strict=True))
    liked_of = dict(zip(graph.user_ids_N.tolist(), graph.user_topics_N2.tolist(), strict=True))
    pairs = zip(events.user_ids_E[:5_000].tolist(), events.post_ids_E[:5_000].tolist(), strict=True)
    assert np.mean([topic_of[post] in liked_of[user] for user, post in pairs]) > 0.9


def test_all_relations_occur() -> None:
    events = draw_day(make_graph(OPTIONS), 2)
    assert np.unique(events.relations_E).tolist() == list(range(len(RELATIONS)))


@pytest.mark.parametrize(("field", "value"), [("num_users", 0), ("num_posts", 31), ("num_events", 51_199)])
def test_too_small_a_demo_is_refused(field: str, value: int) -> None:
    with pytest.raises(UsageError) as refused:
        DemoOptions(**{field: value})
    assert refused.value.kind is ErrorKind.BAD_OPTION
    assert field.removeprefix("num_") in str(refused.value)
    assert "or more" in str(refused.value)
