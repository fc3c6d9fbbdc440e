"""Augmentation: noise at the ratio asked for, filters that delay nothing, and the same utterance the same way."""

import numpy as np

from voicelink.train import augment


def _padded(speech: np.ndarray) -> np.ndarray:
    return np.pad(speech, (augment.HISTORY_SAMPLES, augment.AHEAD_SAMPLES)).astype(np.float32)


def test_plain_sets_level_and_polarity_only() -> None:
    speech = np.random.default_rng(0).standard_normal(5_000)
    change = augment.plain(np.random.default_rng(1), (-6.0, -6.0))
    made = change.apply(_padded(speech), np.random.default_rng(2), 1.0, None)
    np.testing.assert_allclose(np.abs(made), np.abs(speech) * 10 ** (-6 / 20), rtol=1e-5)


def test_noise_has_the_ratio_that_was_drawn() -> None:
    for snr_db in (5.0, 30.0):
        shape = augment._coloured(np.random.default_rng(3), snr_db)
        change = augment.Augmentation(noise=shape)
        made = change.apply(_padded(np.zeros(200_000)), np.random.default_rng(4), 0.1, None)
        assert abs(20 * np.log10(0.1 / made.std()) - snr_db) < 1.0


def test_filters_do_not_delay() -> None:
    impulse = np.zeros(4_000)
    impulse[1_500] = 1.0
    for seed in range(40):
        response = augment._response(np.random.default_rng(seed))
        made = augment.Augmentation(response=response).apply(_padded(impulse), np.random.default_rng(0), 1.0, None)
        assert len(made) == 4_000
        assert np.abs(made).argmax() == 1_500


def test_draws_repeat_and_differ() -> None:
    speech = _padded(np.random.default_rng(0).standard_normal(9_000) * 0.1)
    others = np.random.default_rng(5).standard_normal(9_000).astype(np.float32)
    kinds = set()
    for seed in range(60):
        pair = [augment.draw(np.random.default_rng(seed), (-16.0, 0.0)) for _ in range(2)]
        made = [c.apply(speech, np.random.default_rng(9), 0.1, others) for c in pair]
        np.testing.assert_array_equal(made[0], made[1])
        assert np.isfinite(made[0]).all()
        change = pair[0]
        kinds.add(
            (
                change.response is not None,
                change.rumble is not None,
                change.noise is not None,
                change.babble > 0,
                change.clip_at > 0,
            )
        )
    assert len(kinds) >= 5


def test_noise_that_is_wanted_lower_is_the_same_noise_and_rumble_stays() -> None:
    speech, others = _padded(np.zeros(9_000)), np.random.default_rng(5).standard_normal(9_000).astype(np.float32)
    rumble, noise = augment._rumble(np.random.default_rng(1)), augment._coloured(np.random.default_rng(2), 10.0)
    parts = [
        augment.Augmentation(rumble=rumble),
        augment.Augmentation(noise=noise),
        augment.Augmentation(babble=0.3),
    ]
    for change, factor in zip(parts, (1.0, 0.25, 0.25), strict=True):
        pair = [change.apply(speech, np.random.default_rng(9), 0.1, others, db) for db in (0.0, 20 * np.log10(4))]
        assert pair[0].any()
        assert change.noisy == (factor < 1)
        np.testing.assert_allclose(pair[1], factor * pair[0], rtol=1e-4, atol=1e-7)
