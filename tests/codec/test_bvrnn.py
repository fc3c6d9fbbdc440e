"""The coder: both ends hold one state, unsent bits do not matter, the fast training loop has the true gradients."""

import pytest
import torch

from voicelink.codec.bits import UNSENT
from voicelink.codec.bvrnn import Bvrnn, BvrnnConfig, sent_mask
from voicelink.train.fast_bvrnn import FastLoop


@pytest.fixture
def model() -> Bvrnn:
    torch.manual_seed(0)
    return Bvrnn(BvrnnConfig(hidden=48)).eval()


def test_sizes_of_the_paper() -> None:
    total = sum(p.numel() for p in Bvrnn(BvrnnConfig(hidden=1024)).parameters())
    assert total == pytest.approx(23.45e6, rel=1e-3)


def test_gru_is_torchs(model: Bvrnn) -> None:
    mel, latent, state = torch.randn(3, 80), torch.randn(3, 48), torch.randn(3, 48)
    features = torch.cat([model.phi_x(model.normalise(mel)), latent], dim=1)
    _, theirs = model.rnn(features[:, None], state[None])
    torch.testing.assert_close(model.recur(mel, latent, state), theirs[0])


@pytest.mark.parametrize("bits", [1, 16, 64])
def test_decoder_follows_the_encoder(model: Bvrnn, bits: int) -> None:
    mel, sent = torch.randn(12, 2, 80), sent_mask(torch.tensor([bits, bits]), 64)
    ours = theirs = model.initial_state(2)
    for frame in mel:
        code, decoded, ours = model.encode_step(frame, sent, ours)
        assert torch.all(code[:, bits:] == UNSENT)
        assert set(code[:, :bits].unique().tolist()) <= {0.0, 1.0}
        again, theirs = model.decode_step(code, theirs)
        torch.testing.assert_close(again, decoded, atol=0, rtol=0)
        torch.testing.assert_close(ours, theirs, atol=0, rtol=0)


@pytest.mark.parametrize("forced", [False, True])
def test_fast_loop_has_the_gradients_of_the_step(model: Bvrnn, forced: bool) -> None:
    mel, sent = torch.randn(3, 6, 80), sent_mask(torch.tensor([64, 10, 30]), 64)[:, None].expand(-1, 6, -1)
    open_loop = torch.tensor([forced and t % 2 == 0 for t in range(6)])
    loop = FastLoop(model, torch.float32)
    coded = loop.run(mel, sent, model.initial_state(3), 0.0, open_loop)
    (coded.mel.abs().mean() + coded.prior_logit.square().mean()).backward()
    loop.flush()
    fast = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    _plain_loss(model, mel, sent, open_loop).backward()
    plain = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert fast.keys() == plain.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(fast[name], gradient, rtol=1e-4, atol=1e-6)


def test_the_second_decoder_loses_what_it_is_told_to(model: Bvrnn) -> None:
    """It decodes as a receiver with a state of its own: whole frames, cut ones, and lost ones by the prior."""
    mel, sent = torch.randn(3, 8, 80), sent_mask(torch.tensor([64, 10, 30]), 64)[:, None].expand(-1, 8, -1)
    kept = sent[:2].clone()
    kept[0, 2:5], kept[1, 3, 4:] = 0, 0
    with torch.no_grad():
        whole = FastLoop(model, torch.float32).run(mel, sent, model.initial_state(3), 0.0)
        lossy = FastLoop(model, torch.float32).run(mel, sent, model.initial_state(5), 0.0, kept=kept)
    torch.testing.assert_close(lossy.mel[:3], whole.mel)
    assert len(lossy.mel) == 5
    for row in (0, 1):
        state = model.initial_state(1)
        for t in range(8):
            code = torch.round(whole.probability[row, t])[None]
            if kept[row, t].any():
                code = torch.where(kept[row, t] > 0, code, torch.full_like(code, UNSENT))
            else:
                code = torch.where(sent[row, t] > 0, model.prior_step(state), torch.full_like(code, UNSENT))
            decoded, state = model.decode_step(code, state)
            torch.testing.assert_close(lossy.mel[3 + row, t], decoded[0], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(lossy.mel[3, 5:], whole.mel[0, 5:])


def _plain_loss(model: Bvrnn, mel: torch.Tensor, sent: torch.Tensor, open_loop: torch.Tensor) -> torch.Tensor:
    state, mels, priors = model.initial_state(len(mel)), [], []
    for t in range(mel.shape[1]):
        priors.append(model.prior[:-1](state))
        probability = model.enc(torch.cat([model.phi_x(model.normalise(mel[:, t])), state], dim=1))
        hard = torch.round(probability).detach() + probability - probability.detach()
        code = torch.where(sent[:, t] > 0, hard, torch.full_like(hard, UNSENT))
        decoded, following = model.decode_step(code, state)
        if open_loop[t]:
            following = model.recur(mel[:, t], model.phi_z(code), state)
        state = following
        mels.append(decoded)
    return torch.stack(mels, 1).abs().mean() + torch.stack(priors, 1).square().mean()
