"""Bernoulli variational recurrent coder of log-mel frames (torch).

Architecture and closed-loop coding as in Stahl, Windtner and Sontacchi, IEEE Access 12 (2024),
doi 10.1109/ACCESS.2024.3482359. Per frame, with h the GRU state before it:

    e = enc(phi_x(norm(x)), h);  z = round(e), bits n.. replaced by 0.5 (not sent)
    x^ = dec(phi_z(z), h);       h' = GRU([phi_x(norm(x^)), phi_z(z)], h)

Both ends run everything after z, so both hold the same h. Parameter names follow the layout of the authors'
checkpoints, so that those load as they are.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from voicelink.codec.bits import UNSENT
from voicelink.codec.mel import N_MELS
from voicelink.units import MAX_BITS_PER_FRAME


@dataclass(frozen=True)
class BvrnnConfig:
    """`hidden`: width of every layer (512 by default, 1024 in the paper); `bits`: latent bits a frame."""

    hidden: int = 512
    bits: int = MAX_BITS_PER_FRAME


class Bvrnn(nn.Module):
    """The coder; all methods are pure: state in, state out. B streams are coded side by side."""

    mean_mel: Tensor
    std_mel: Tensor

    def __init__(self, config: BvrnnConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or BvrnnConfig()
        h = c.hidden
        self.phi_x = _mlp(N_MELS, h, h, h, last=nn.ELU())
        self.phi_z = _mlp(c.bits, h, h, h, last=nn.ELU())
        self.enc = _mlp(2 * h, h, h, c.bits, last=nn.Sigmoid())
        self.prior = _mlp(h, h, h, c.bits, last=nn.Sigmoid())
        self.dec = _mlp(2 * h, h, h, h, N_MELS, last=None)
        self.rnn = nn.GRU(2 * h, h, batch_first=True)
        self.log_sigma = nn.Parameter(torch.tensor([-1.0]))
        self.register_buffer("mean_mel", torch.zeros(N_MELS))
        self.register_buffer("std_mel", torch.ones(N_MELS))

    def initial_state(self, batch: int = 1) -> Tensor:
        """Zero state [B, hidden]."""
        return torch.zeros(batch, self.config.hidden, device=self.mean_mel.device)

    def encode_step(self, mel: Tensor, sent: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Code one frame.

        mel [B, 80] natural-log mel; sent [B, bits], 1.0 for each bit that is sent, 0.0 after; state [B, hidden].
        Returns the code (0.0 or 1.0, 0.5 where unsent) [B, bits], the decoded mel [B, 80] and the next state.
        """
        code, _ = self.code_step(mel, sent, state)
        decoded, state = self.decode_step(code, state)
        return code, decoded, state

    def code_step(self, mel: Tensor, sent: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """First half of `encode_step`: the code, and the logits it was rounded from. The rest is the decoder's step."""
        logit: Tensor = self.enc[:-1](torch.cat([self.phi_x(self.normalise(mel)), state], dim=1))
        bits = torch.round(torch.sigmoid(logit))
        return torch.where(sent > 0, bits, torch.full_like(bits, UNSENT)), logit

    def decode_step(self, code: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """code [B, bits] with 0.5 for unsent bits, state [B, hidden] -> decoded mel [B, 80], next state."""
        latent = self.phi_z(code)
        mel = self.dec(torch.cat([latent, state], dim=1))
        return mel, self.recur(mel, latent, state)

    def prior_step(self, state: Tensor) -> Tensor:
        """Expected code [B, bits] of the next frame, probabilities, for concealment.

        Not rounded: 0.5 says of a bit that nothing is known, as it does of one that was not sent.
        """
        expected: Tensor = self.prior(state)
        return expected

    def recur(self, mel: Tensor, latent: Tensor, state: Tensor) -> Tensor:
        """GRU update from the decoded mel and the latent's features."""
        features = torch.cat([self.phi_x(self.normalise(mel)), latent], dim=1)
        rnn = self.rnn
        weight_in, weight_state, bias_in, bias_state = rnn.all_weights[0]
        gates_in = nn.functional.linear(features, weight_in, bias_in)
        gates_state = nn.functional.linear(state, weight_state, bias_state)
        reset_in, update_in, new_in = gates_in.chunk(3, dim=1)
        reset_state, update_state, new_state = gates_state.chunk(3, dim=1)
        reset = torch.sigmoid(reset_in + reset_state)
        update = torch.sigmoid(update_in + update_state)
        new = torch.tanh(new_in + reset * new_state)
        return new + update * (state - new)

    def normalise(self, mel: Tensor) -> Tensor:
        """Zero mean and unit variance a band, by the training data's statistics."""
        return (mel - self.mean_mel) / self.std_mel


def sent_mask(bits: Tensor, total: int) -> Tensor:
    """bits [...] sent of `total` -> float mask [..., total]: 1.0 for the first `bits`."""
    return (torch.arange(total, device=bits.device) < bits[..., None]).float()


def _mlp(*sizes: int, last: nn.Module | None) -> nn.Sequential:
    """Linear layers with ELU between; `last` follows the final one (None: nothing)."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ELU()]
    layers[-1:] = [last] if last is not None else []
    return nn.Sequential(*layers)
