"""A made-up interaction graph of two days: who favoured, retweeted or replied to what.

Interest has structure (each user likes few topics, each post has one), so that a model of users and posts learns
something; popularity has a long tail; between the days some entities vanish and others appear.

Shape suffixes: N entities, T topics, E events.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embsnap.live.demo_values import DemoOptions

__all__ = ["RELATIONS", "DayEvents", "Graph", "draw_day", "make_graph"]

RELATIONS: tuple[str, ...] = ("fav", "retweet", "reply")
"""What a user may do to a post; the numbers in the events are positions in this tuple."""

_RELATION_OF_KIND = np.array([[0.90, 0.08, 0.02], [0.45, 0.50, 0.05], [0.40, 0.05, 0.55]])
"""P(relation | kind of post): photos are favoured, news retweeted, questions replied to."""
_TOPIC_CHOICE = np.array([0.75, 0.95])
"""Cumulative chances that an event is about its user's first or second topic; else about any."""


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """All entities of both days. Day one has the first `num` of them, day two the last `num`."""

    options: DemoOptions
    user_ids_N: NDArray[np.int64]
    user_topics_N2: NDArray[np.int64]
    """First and second topic of each user."""
    user_weights_N: NDArray[np.float64]
    post_ids_N: NDArray[np.int64]
    post_topics_N: NDArray[np.int64]
    post_kinds_N: NDArray[np.int64]
    post_weights_N: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class DayEvents:
    """The events of one day, in the order in which they happened."""

    user_ids_E: NDArray[np.int64]
    relations_E: NDArray[np.int64]
    """Positions in `RELATIONS`."""
    post_ids_E: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.user_ids_E)


def make_graph(options: DemoOptions) -> Graph:
    """Draw the entities of both days; the same options give the same graph."""
    rng = np.random.default_rng(options.seed)
    num_users = options.num_users + round(options.num_users * options.churn)
    num_posts = options.num_posts + round(options.num_posts * options.churn)
    return Graph(
        options=options,
        user_ids_N=_draw_ids(rng, num_users),
        user_topics_N2=rng.integers(options.num_topics, size=(num_users, 2)),
        user_weights_N=_long_tail(rng, num_users),
        post_ids_N=_draw_ids(rng, num_posts),
        post_topics_N=np.arange(num_posts) % options.num_topics,
        post_kinds_N=rng.integers(len(_RELATION_OF_KIND), size=num_posts),
        post_weights_N=_long_tail(rng, num_posts),
    )


def draw_day(graph: Graph, day: int) -> DayEvents:
    """Draw the events of day 1 or 2; popularity shifts a little from day to day."""
    options = graph.options
    rng = np.random.default_rng((options.seed, day))
    users_N = _alive(len(graph.user_ids_N), options.num_users, day)
    posts_N = _alive(len(graph.post_ids_N), options.num_posts, day)
    user_weights_N = _shift(rng, graph.user_weights_N[users_N])
    post_weights_N = _shift(rng, graph.post_weights_N[posts_N])
    users_E = users_N[rng.choice(len(users_N), size=options.num_events, p=user_weights_N / user_weights_N.sum())]
    topics_E = _topics_of_interest(rng, graph.user_topics_N2[users_E], options.num_topics)
    posts_E = posts_N[_posts_on_topics(rng, topics_E, graph.post_topics_N[posts_N], post_weights_N)]
    return DayEvents(
        graph.user_ids_N[users_E],
        _relations(rng, graph.post_kinds_N[posts_E]),
        graph.post_ids_N[posts_E],
    )


def _draw_ids(rng: np.random.Generator, count: int) -> NDArray[np.int64]:
    """`int64[count]` distinct numbers below 2**63, as sparse as real ids are."""
    ids_N = rng.integers(1, 2**63 - 1, size=count, dtype=np.int64)
    while len(np.unique(ids_N)) < count:
        ids_N = rng.integers(1, 2**63 - 1, size=count, dtype=np.int64)
    return ids_N


def _long_tail(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Zipf-like popularity, 1/(rank + 10), in random order."""
    weights_N: NDArray[np.float64] = np.reciprocal(10.0 + rng.permutation(count))
    return weights_N


def _shift(rng: np.random.Generator, weights_N: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted_N: NDArray[np.float64] = weights_N * rng.lognormal(0.0, 0.3, size=len(weights_N))
    return shifted_N


def _alive(total: int, num: int, day: int) -> NDArray[np.int64]:
    return np.arange(num) if day == 1 else np.arange(total - num, total)


def _topics_of_interest(rng: np.random.Generator, topics_E2: NDArray[np.int64], num_topics: int) -> NDArray[np.int64]:
    choice_E = np.searchsorted(_TOPIC_CHOICE, rng.random(len(topics_E2)), side="right")
    anything_E = rng.integers(num_topics, size=len(topics_E2))
    topics_E: NDArray[np.int64] = np.choose(choice_E, [topics_E2[:, 0], topics_E2[:, 1], anything_E])
    return topics_E


def _posts_on_topics(
    rng: np.random.Generator,
    topics_E: NDArray[np.int64],
    post_topics_N: NDArray[np.int64],
    post_weights_N: NDArray[np.float64],
) -> NDArray[np.int64]:
    """One post for each topic asked for, by popularity among the posts on that topic."""
    order_N = np.argsort(post_topics_N, kind="stable")
    bounds_T = np.searchsorted(post_topics_N[order_N], np.arange(post_topics_N.max() + 2))
    running_N = np.concatenate([[0.0], np.cumsum(post_weights_N[order_N])])
    low_E, high_E = running_N[bounds_T[topics_E]], running_N[bounds_T[topics_E + 1]]
    drawn_E = low_E + rng.random(len(topics_E)) * (high_E - low_E)
    position_E = np.searchsorted(running_N, drawn_E, side="right") - 1
    posts_E: NDArray[np.int64] = order_N[np.clip(position_E, bounds_T[topics_E], bounds_T[topics_E + 1] - 1)]
    return posts_E


def _relations(rng: np.random.Generator, kinds_E: NDArray[np.int64]) -> NDArray[np.int64]:
    chances_ER = np.cumsum(_RELATION_OF_KIND, axis=1)[kinds_E]
    relations_E: NDArray[np.int64] = (rng.random(len(kinds_E))[:, None] > chances_ER[:, :-1]).sum(axis=1)
    return relations_E
