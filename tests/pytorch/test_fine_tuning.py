import copy
from types import SimpleNamespace

import pytest
import torch

from companion.pytorch import adapting, base_model, training
from companion.pytorch import fine_tuning as tuning
from companion.settings import ADAM_EPSILON
from tests.fine_tuning import *  # noqa: F403  the tests that both twins must pass
from tests.fine_tuning import TEXT, steps_of

BIAS = "output.bias"


def stir(model, seed):
    """Move all weights that are trained, at random."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn(weight.shape, generator=generator) * 0.1)
    return model.eval()


@torch.no_grad()
def put(model, name, value):
    """Set the numbers of the last row of a weight, those of the last word."""
    model.get_parameter(name)[-1] = value


def logits(model, ids, users=None):
    """What the training calls."""
    users = None if users is None else torch.tensor(users)
    return model(torch.tensor(ids), users).detach().numpy()


def by_loop(base, user, strategy, importance=None):
    """Changes of a copy of the base model, trained on a user's messages the plain way."""
    model, steps = copy.deepcopy(base), steps_of(user, strategy)
    start = {name: w.detach() for name, w in base.named_parameters() if w.requires_grad}
    frozen = () if "recurrent" in strategy.layers else ("embedding", "recurrent")
    weights = {n: model.get_parameter(n) for n in start if not n.startswith(frozen)}
    scale = {name: strategy.bias_scale if name == BIAS else 1.0 for name in weights}
    rates = [{"params": [w], "lr": strategy.learning_rate * scale[n]} for n, w in weights.items()]
    adam = torch.optim.Adam(rates, eps=ADAM_EPSILON)
    fall = torch.optim.lr_scheduler.LinearLR(adam, 1.0, 0.0, len(steps))
    text = TEXT.of_users(user)
    for inputs, targets in (map(torch.tensor, step) for step in steps):
        read = model(inputs)
        loss = training.masked_loss(read, targets)
        for name, weight in weights.items():
            held = importance[name] if importance else scale[name] ** -2
            squares = (torch.as_tensor(held) * (weight - start[name]) ** 2).sum()
            loss = loss + strategy.pull / 2 * squares / (text.n_tokens + len(text))
        inside, apart = targets != 0, base(inputs).log_softmax(-1).detach()
        divergence = (apart.exp() * (apart - read.log_softmax(-1))).sum(-1)
        loss = loss + strategy.distillation * divergence[inside].mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        fall.step()
    return {name: (weight - start[name]).detach().numpy() for name, weight in weights.items()}


def gradients(model, row, place, word):
    """Gradient of the log-probability of a word at one place of a message."""
    log_prob = model(torch.tensor(row[None]))[0, place].log_softmax(-1)[word]
    weights = {name: w for name, w in model.named_parameters() if w.requires_grad}
    found = torch.autograd.grad(log_prob, [*weights.values()])
    return {name: gradient.numpy() for name, gradient in zip(weights, found, strict=True)}


@pytest.fixture(scope="module")
def twin():
    return SimpleNamespace(
        name="PyTorch",
        tuning=tuning,
        adapting=adapting,
        base_model=base_model,
        training=training,
        stir=stir,
        put=put,
        logits=logits,
        by_loop=by_loop,
        gradients=gradients,
        product=lambda name, down, up: (down @ up).swapaxes(-1, -2),
        embedding="embedding.weight",
        projection="projection.weight",
        bias=BIAS,
    )
