"""Encoder search: never worse, exhaustive where it can be, unsent bits untouched, unlikely flips at a price."""

import torch

from voicelink.codec.bvrnn import Bvrnn, BvrnnConfig, sent_mask
from voicelink.codec.search import band_weight, search_step


def _model() -> Bvrnn:
    torch.manual_seed(7)
    model = Bvrnn(BvrnnConfig(hidden=32)).eval().requires_grad_(False)
    for layer in model.modules():
        if isinstance(layer, torch.nn.Linear):
            torch.nn.init.normal_(layer.weight, std=1.2 / layer.in_features**0.5)
    return model


def _cost(model: Bvrnn, mel: torch.Tensor, code: torch.Tensor, state: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Weighted error of the frame that `code` decodes to; weights as the search takes them, from code `like`."""
    made, first = (model.decode_step(c, state)[0] for c in (code, like))
    return (band_weight(mel, first) * (made - mel).abs()).sum(dim=1)


def test_search_improves_and_leaves_unsent_bits() -> None:
    model = _model()
    mel, state = torch.randn(40, 80), 0.3 * torch.randn(40, 32)
    for bits in (1, 5, 16, 64):
        sent = sent_mask(torch.full((40,), bits), 64)
        code, logit = model.code_step(mel, sent, state)
        found = search_step(model, mel, sent, code, 0 * logit, state)
        assert torch.equal(found[:, bits:], code[:, bits:])
        assert set(found[:, :bits].unique().tolist()) <= {0.0, 1.0}
        before, after = (_cost(model, mel, c, state, code) for c in (code, found))
        assert (after <= before + 1e-6).all()
        assert bits < 16 or after.mean() < 0.97 * before.mean()


def test_one_sent_bit_takes_the_better_value() -> None:
    """With one bit both values are tried, so the search is exhaustive."""
    model = _model()
    mel, state = torch.randn(60, 80), 0.3 * torch.randn(60, 32)
    sent = sent_mask(torch.ones(60, dtype=torch.int64), 64)
    code, logit = model.code_step(mel, sent, state)
    found = search_step(model, mel, sent, code, 0 * logit, state)
    other = torch.where(sent > 0, 1 - code, code)
    both = torch.stack([_cost(model, mel, c, state, code) for c in (code, other)])
    torch.testing.assert_close(_cost(model, mel, found, state, code), both.amin(dim=0))
    assert 0 < (found != code).any(dim=1).sum() < 60


def test_unlikely_flips_cost_more() -> None:
    """The surer the encoder network is, the fewer of its bits are changed."""
    model = _model()
    mel, state = torch.randn(60, 80), 0.3 * torch.randn(60, 32)
    sent = sent_mask(torch.full((60,), 16), 64)
    code, _ = model.code_step(mel, sent, state)
    changed = [
        (search_step(model, mel, sent, code, sure * (2 * code - 1), state) != code).sum().item() for sure in (0.0, 9.0)
    ]
    assert changed[1] < changed[0]


def test_errors_in_quiet_bands_count_less() -> None:
    mel = torch.tensor([[0.0] * 20 + [-8.0] * 60])
    weight = 80 * band_weight(mel, mel)[0]
    assert (weight[:20] > 0.95).all()
    assert ((weight[20:] > 0.15) & (weight[20:] < 0.25)).all()
