"""Closed-loop BVRNN over many frames, fast enough to train on one CPU core.

Autograd through `nn.Linear` in a time loop forms every weight gradient once a time step, a small product each
that is bound by memory. Here each layer keeps its (input, output gradient) pairs of all time steps and forms its
weight gradient in one large product after the backward pass. What depends on the input alone is computed for
all frames before the loop, what depends on finished states after it. Products run in bfloat16; states, losses
and the divergence stay in float32. A test holds it against `Bvrnn.encode_step` with plain autograd.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voicelink.codec.bits import UNSENT
from voicelink.codec.bvrnn import Bvrnn


@dataclass(frozen=True)
class Coded:
    """Result of T frames of B streams and of E decoders that lose frames (see `FastLoop.run`)."""

    mel: Tensor  # [B + E, T, 80] decoded
    probability: Tensor  # [B, T, bits] of the encoder
    prior_logit: Tensor  # [B, T, bits]
    encoder_logit: Tensor  # [B, T, bits]
    state: Tensor  # [B + E, hidden] after the last frame


class DeferredLinear:
    """A linear map whose weight gradient waits for `flush`. Weights are given as slices of parameters.

    `parts` is a list of (parameter, column slice or None): their rows stand below each other, so that one product
    serves several layers that share an input. `bias` parts are added once each.
    """

    def __init__(
        self,
        parts: list[tuple[nn.Parameter, slice | None]],
        biases: list[nn.Parameter | None],
        dtype: torch.dtype,
    ) -> None:
        self.parts, self.biases = parts, biases
        weight = torch.cat([p.detach() if cols is None else p.detach()[:, cols] for p, cols in parts])
        self.weight = weight.to(dtype)
        sizes = [p.shape[0] for p, _ in parts]
        self.sizes = sizes
        self.bias = torch.cat(
            [
                b.detach() if b is not None else torch.zeros(n, device=weight.device)
                for b, n in zip(biases, sizes, strict=True)
            ]
        ).to(dtype)
        # Autograd skips a function none of whose inputs needs a gradient; the weights it does not see.
        self.anchor = torch.zeros((), requires_grad=True)
        self.inputs: list[Tensor] = []
        self.gradients: dict[int, Tensor] = {}

    def __call__(self, x: Tensor) -> Tensor:
        """x [B, in] -> [B, sum of rows]."""
        x = x.to(self.weight.dtype)
        self.inputs.append(x.detach())
        return _Deferred.apply(x, self.anchor, self, len(self.inputs) - 1)

    def flush(self) -> None:
        """Add the collected weight and bias gradients to the parameters'."""
        order = sorted(self.gradients)
        inputs = torch.cat([self.inputs[i] for i in order])
        gradients = torch.cat([self.gradients[i] for i in order])
        weight = (gradients.T @ inputs).float()
        bias = gradients.float().sum(dim=0)
        row = 0
        for (parameter, cols), bias_parameter, size in zip(self.parts, self.biases, self.sizes, strict=True):
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            (parameter.grad if cols is None else parameter.grad[:, cols]).add_(weight[row : row + size])
            if bias_parameter is not None:
                if bias_parameter.grad is None:
                    bias_parameter.grad = torch.zeros_like(bias_parameter)
                bias_parameter.grad.add_(bias[row : row + size])
            row += size


class _Deferred(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, anchor: Tensor, layer: DeferredLinear, index: int) -> Tensor:
        ctx.layer, ctx.index = layer, index
        return F.linear(x, layer.weight, layer.bias)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, None, None, None]:
        ctx.layer.gradients[ctx.index] = gradient
        needed = ctx.needs_input_grad[0]
        return gradient @ ctx.layer.weight if needed else None, None, None, None


class FastLoop:
    """One forward pass; make a new one each step, call `flush` after `backward`."""

    def __init__(self, model: Bvrnn, dtype: torch.dtype = torch.bfloat16) -> None:
        self.model, self.dtype = model, dtype
        h = model.config.hidden
        left, right = slice(0, h), slice(h, 2 * h)
        rnn = model.rnn

        def plain(layer: nn.Linear) -> DeferredLinear:
            return DeferredLinear([(layer.weight, None)], [layer.bias], dtype)

        def joint(*parts: tuple[nn.Parameter, slice | None, nn.Parameter | None]) -> DeferredLinear:
            return DeferredLinear([p[:2] for p in parts], [p[2] for p in parts], dtype)

        self.phi_x = [plain(m) for m in model.phi_x if isinstance(m, nn.Linear)]
        self.phi_z = [plain(m) for m in model.phi_z if isinstance(m, nn.Linear)]
        self.enc = [plain(m) for m in list(model.enc)[1:] if isinstance(m, nn.Linear)]
        *inner, last = [m for m in list(model.dec)[1:] if isinstance(m, nn.Linear)]
        # Mels reach -11.5: half a bfloat16 step there is 0.3 dB, so the output layer stays in float32.
        self.dec = [*map(plain, inner), DeferredLinear([(last.weight, None)], [last.bias], torch.float32)]
        self.prior = [plain(m) for m in model.prior if isinstance(m, nn.Linear)]
        self.enc_from_x = joint((model.enc[0].weight, left, model.enc[0].bias))
        self.from_state = joint(
            (model.enc[0].weight, right, None),
            (model.dec[0].weight, right, None),
            (rnn.weight_hh_l0, None, rnn.bias_hh_l0),
        )
        self.from_latent = joint(
            (model.dec[0].weight, left, model.dec[0].bias), (rnn.weight_ih_l0, right, rnn.bias_ih_l0)
        )
        self.gru_from_x = joint((rnn.weight_ih_l0, left, None))
        self.hidden = h

    def run(
        self,
        mel: Tensor,
        sent: Tensor,
        state: Tensor,
        noise: float,
        open_loop: Tensor | None = None,
        kept: Tensor | None = None,
    ) -> Coded:
        """mel [B, T, 80], sent [B, T, bits], state [B + E, hidden].

        `noise` scales the uniform noise of stochastic rounding: 1 as published, 0 = plain rounding. `open_loop` [T],
        boolean: frames after which the recurrence is fed with the true mel (scheduled sampling, Bengio et al. 2015).
        `kept` [E, T, bits]: beside the encoder's own decoder a second one runs for each of the first E streams, with
        its own state. Of each frame it receives the bits with a 1 here; a frame without any is lost, and it decodes the
        code that its prior expects instead, as concealment does.
        """
        model, h = self.model, self.hidden
        batch, frames = mel.shape[:2]
        others = 0 if kept is None else kept.shape[0]
        flat = model.normalise(mel).reshape(batch * frames, -1)
        true_features = _elu_chain(self.phi_x, flat)
        enc_x = self.enc_from_x(true_features).reshape(batch, frames, h)
        true_features = true_features.reshape(batch, frames, h).unbind(1)
        # unbind and split, not slices: the gradient of a slice is a zero tensor of the whole, filled each time.
        states, mels, logits = [], [], []
        for t, enc_x_t in enumerate(enc_x.unbind(1)):
            states.append(state)
            enc_state, dec_state, gates_state = self.from_state(state).split([h, h, 3 * h], dim=1)
            logit = _elu_chain(self.enc, F.elu(enc_x_t + enc_state[:batch]), linear_last=True).float()
            code = straight_through(torch.sigmoid(logit), sent[:, t], noise)
            if kept is not None:
                code = torch.cat([code, self._received(code[:others], kept[:, t], sent[:others, t], state[batch:])])
            latent = _elu_chain(self.phi_z, code)
            dec_latent, gates_latent = self.from_latent(latent).split([h, 3 * h], dim=1)
            decoded = _elu_chain(self.dec, F.elu(dec_latent + dec_state), linear_last=True).float()
            forced = open_loop is not None and bool(open_loop[t])
            if forced:
                features = torch.cat([true_features[t], true_features[t][:others]])
            else:
                features = _elu_chain(self.phi_x, model.normalise(decoded))
            gates = self.gru_from_x(features)
            state = _gru(gates + gates_latent, gates_state, state)
            mels.append(decoded)
            logits.append(logit)
        before = torch.stack(states, dim=1)[:batch].reshape(batch * frames, h)
        prior = _elu_chain(self.prior, before, linear_last=True).float().reshape(batch, frames, -1)
        encoder = torch.stack(logits, dim=1)
        return Coded(torch.stack(mels, dim=1), torch.sigmoid(encoder), prior, encoder, state)

    def _received(self, code: Tensor, kept: Tensor, sent: Tensor, state: Tensor) -> Tensor:
        """What a lossy decoder decodes of `code` [E, bits]: bits that were cut are 0.5, lost frames are guessed."""
        received = torch.where(kept > 0, code, torch.full_like(code, UNSENT))
        lost = kept.amax(dim=1, keepdim=True) == 0
        if not lost.any():
            return received
        expected = torch.sigmoid(_elu_chain(self.prior, state, linear_last=True).float())
        guess = torch.where(sent > 0, expected, torch.full_like(code, UNSENT))
        return torch.where(lost, guess, received)

    def flush(self) -> None:
        """Form all weight gradients; call once after `backward`."""
        singles = (self.enc_from_x, self.from_state, self.from_latent, self.gru_from_x)
        for layer in [*self.phi_x, *self.phi_z, *self.enc, *self.dec, *self.prior, *singles]:
            if layer.gradients:
                layer.flush()


def straight_through(probability: Tensor, sent: Tensor, noise: float) -> Tensor:
    """Rounded bits with the gradient of the probability; unsent bits 0.5 without gradient."""
    jitter = noise * (torch.rand_like(probability) - 0.5)
    hard = torch.round(probability.detach() + jitter).clamp(0, 1)
    bits = hard + probability - probability.detach()
    return torch.where(sent > 0, bits, torch.full_like(bits, UNSENT))


def _elu_chain(layers: list[DeferredLinear], x: Tensor, *, linear_last: bool = False) -> Tensor:
    for index, layer in enumerate(layers):
        x = layer(x)
        if not (linear_last and index == len(layers) - 1):
            x = F.elu(x)
    return x


def _gru(gates_in: Tensor, gates_state: Tensor, state: Tensor) -> Tensor:
    h = state.shape[1]
    both_in, new_in = gates_in.float().split([2 * h, h], dim=1)
    both_state, new_state = gates_state.float().split([2 * h, h], dim=1)
    reset, update = torch.sigmoid(both_in + both_state).split([h, h], dim=1)
    new = torch.tanh(new_in + reset * new_state)
    return new + update * (state - new)
