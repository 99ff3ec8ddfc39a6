"""A captured update is the update it was captured from; on a CPU nothing is captured."""

import pytest

torch = pytest.importorskip("torch", reason="training needs torch: `make train` installs it")

from models.graphed import Mean, Repeated, adam, set_rate  # noqa: E402

pytestmark = pytest.mark.heavy  # torch alone takes seconds to import; `.ci/run` installs it


def descents(device: str, updates: int) -> tuple[list[float], torch.Tensor]:
    """Losses of a small regression with noise that is drawn on the way, and the weights at its end."""
    with torch.device(device):
        torch.manual_seed(1)
        net = torch.nn.Linear(3, 1)
        optimiser = adam(list(net.parameters()), 1e-2)
        g = torch.Generator(device).manual_seed(2)

        def step() -> dict[str, torch.Tensor]:
            x = torch.randn(32, 3, generator=g)
            loss = (net(x) - x.sum(1, keepdim=True)).square().mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            return {"loss": loss.detach()}

        repeated, losses = Repeated(step, g), []
        for update in range(updates):
            set_rate(optimiser, 1e-2 / (1 + update))
            losses.append(float(repeated()["loss"]))
        return losses, net.weight.detach().cpu()


def test_every_call_is_one_update_at_its_own_rate() -> None:
    losses, weight = descents("cpu", 12)
    assert len(set(losses)) == 12, "every update draws numbers of its own"
    assert torch.equal(descents("cpu", 12)[1], weight)
    assert not torch.equal(descents("cpu", 11)[1], weight)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
def test_a_replayed_update_draws_on_and_follows_the_rate() -> None:
    losses, weight = descents("cuda", 12)
    assert len(set(losses)) == 12
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("models.graphed.WARM_UP", 99)  # none of them captured
        plain, same = descents("cuda", 12)
    assert losses == pytest.approx(plain, rel=1e-4)
    assert torch.allclose(weight, same, rtol=1e-4)


def test_the_mean_is_of_what_came_since_it_was_asked() -> None:
    mean, one = Mean(), torch.tensor(1.0)
    mean.add({"a": one, "b": 2 * one})
    one += 2  # a replayed update writes into the same tensor
    mean.add({"a": one, "b": one})
    assert mean.take() == {"a": 2.0, "b": 2.5}
    mean.add({"a": one})
    assert mean.take() == {"a": 3.0}
