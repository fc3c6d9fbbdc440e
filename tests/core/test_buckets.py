from __future__ import annotations

import pytest

from voicelink.core.buckets import MAX_SOURCES, SourceBuckets, TokenBucket, network_of
from voicelink.units import NS_PER_S


def test_a_bucket_gives_a_burst_and_then_its_rate() -> None:
    bucket = TokenBucket(10, 20)
    assert sum(bucket.take(0) for _ in range(100)) == 20
    assert sum(bucket.take(NS_PER_S // 2) for _ in range(100)) == 5
    taken = sum(bucket.take(NS_PER_S + i * NS_PER_S // 1000) for i in range(10_000))
    assert 104 <= taken <= 106
    assert sum(bucket.take(10**12) for _ in range(100)) == 20


def test_sources_do_not_take_from_each_other_and_are_bounded() -> None:
    buckets = SourceBuckets(1, 2)
    assert [buckets.take(("192.0.2.1", port), 0) for port in range(3)] == [True, True, False]
    assert buckets.take(("192.0.2.2", 1), 0)
    for i in range(2 * MAX_SOURCES):
        buckets.take((f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}", 1), 0)
    assert len(buckets) == MAX_SOURCES


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2"),
        ("2001:db8::7", "2001:db8:0:0"),
        ("::1", "0:0:0:0"),
        ("2001:db8:1:2::", "2001:db8:1:2"),
        ("::ffff:192.0.2.1", "0:0:0:0"),
    ],
)
def test_an_ipv6_customer_is_one_source(host: str, network: str) -> None:
    assert network_of((host, 5)) == network
