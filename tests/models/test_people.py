"""People as slots: alike for every hue, moved with the body, found in pictures, learnt from episodes."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the networks need torch: `make train` installs it")

from models import people_training as training  # noqa: E402
from models.layout import ActionJoint, Layout  # noqa: E402
from models.losses import people_along  # noqa: E402
from models.people import FRAME_S, MOMENTS, Finder, People  # noqa: E402
from models.since import Senses  # noqa: E402

pytestmark = pytest.mark.heavy
LAYOUT = Layout("two wheels", (ActionJoint("left", 0, False, 10.0), ActionJoint("right", 1, False, 10.0)), 100, 20)  # fmt: skip
HUES, SENSES, MEMORY = 3, LAYOUT.proprio_size + 6, 5


def people(seed: int = 0) -> People:
    torch.manual_seed(seed)
    return People(SENSES, MEMORY).eval()


def test_an_unseen_person_walks_on_in_the_room_while_the_base_turns_and_drives() -> None:
    net = people()
    with torch.no_grad():
        for layer in (net.move[-1], net.ego):
            layer.weight.zero_()
            layer.bias.zero_()
        net.move[-1].bias[0] = net.move[-1].bias[5] = -20.0  # nothing is put right
        net.ego.bias[:] = torch.tensor([0.2, 0.1])  # the base's turn and way
        slots = torch.zeros(1, HUES, net.slot)
        slots[..., -4:] = torch.tensor([2.0, 1.0, 0.3, -0.4])
        here, yaw = torch.zeros(2), 0.0
        for _ in range(30):
            here = here + 0.1 * torch.tensor([np.cos(yaw), np.sin(yaw)])
            yaw += 0.2
            slots = net(slots, torch.zeros(1, SENSES))
    c, s = np.cos(yaw), np.sin(yaw)
    x, y, vx, vy = slots[0, 0, -4:].tolist()
    room = here + torch.tensor([c * x - s * y, s * x + c * y])
    assert room.tolist() == pytest.approx([2.0 + 0.3 * 1.5, 1.0 - 0.4 * 1.5], abs=1e-4)
    assert (c * vx - s * vy, s * vx + c * vy) == pytest.approx((0.3, -0.4), abs=1e-4)


def test_slots_do_not_know_which_hue_they_are_nor_of_each_other() -> None:
    net, g = people(), torch.Generator().manual_seed(1)
    slots = torch.randn(2, HUES, net.slot, generator=g)
    senses, moments = torch.randn(2, SENSES, generator=g), torch.rand(2, HUES, MOMENTS, generator=g)
    one = torch.ones(2, 1)
    with torch.no_grad():
        out = net(slots, senses, moments, one)
        assert torch.allclose(net(slots.flip(1), senses, moments.flip(1), one), out.flip(1), atol=1e-6)  # fmt: skip
        moments[:, 1] += 3
        changed = net(slots, senses, moments, one)
    assert not torch.allclose(changed[:, 1], out[:, 1])
    assert torch.equal(changed[:, 0], out[:, 0]) and torch.equal(changed[:, 2], out[:, 2])


def test_without_a_frame_nothing_is_seen_whatever_the_moments_say() -> None:
    net, g = people(), torch.Generator().manual_seed(1)
    slots, senses = torch.randn(2, HUES, net.slot, generator=g), torch.randn(2, SENSES)
    with torch.no_grad():
        blind = net(slots, senses)
        masked = net(slots, senses, torch.rand(2, HUES, MOMENTS), torch.zeros(2, 1))
    assert torch.equal(blind, masked)


def test_fields_hold_the_slots_place() -> None:
    net = people()
    slots = torch.randn(4, HUES, net.slot)
    assert torch.equal(net.fields(slots)[..., 1:3], slots[..., -4:-2])


def test_moments_are_those_of_what_is_covered() -> None:
    finder = Finder(2)
    share = torch.full((1, 2, 16, 16), -20.0)
    share[0, 0, 4:8, 12:14] = 20.0  # rows 4..7, columns 12..13
    mass, x, y, spread_x, spread_y, peak = finder.moments(share)[0, 0].tolist()
    assert mass == pytest.approx(np.log1p(8), rel=1e-3) and peak == pytest.approx(1)
    assert x == pytest.approx(13 / 8 - 1, abs=0.02) and y == pytest.approx(6 / 8 - 1, abs=0.02)
    assert spread_y > spread_x
    assert finder.moments(share)[0, 1, 0].item() == pytest.approx(0, abs=1e-3)


def test_walking_is_told_from_the_bases_own_way() -> None:
    """A person walks straight, the base drives a circle: the label is the walk, turned with the base."""
    senses, full_m_s, frames = Senses.of(LAYOUT), 0.5, 40
    sensed = torch.zeros(1, frames, LAYOUT.proprio_size + 6)
    sensed[..., senses.gyro_z] = 0.8 / senses.gyro_scale_rad_s
    sensed[..., list(senses.wheels)] = 0.6
    yaw, here = 0.0, np.zeros(2)
    xy, walk = np.zeros((1, frames, 1, 2)), np.array([0.3, 0.2])
    for t in range(frames):
        yaw += 0.8 * FRAME_S
        here += 0.6 * full_m_s * FRAME_S * np.array([np.cos(yaw), np.sin(yaw)])
        apart = np.array([2.0, 0.0]) + walk * t * FRAME_S - here
        c, s = np.cos(yaw), np.sin(yaw)
        xy[0, t, 0] = c * apart[0] + s * apart[1], c * apart[1] - s * apart[0]
    out = training.walking_m_s(torch.from_numpy(xy).float(), sensed, senses, full_m_s)[0, :, 0]
    yaws = 0.8 * FRAME_S * np.arange(1, frames + 1)
    c, s = np.cos(yaws), np.sin(yaws)
    wanted = np.stack([c * walk[0] + s * walk[1], c * walk[1] - s * walk[0]], 1)
    assert np.abs(out.numpy() - wanted)[3:-3].max() < 1e-3


def test_sequences_are_of_one_hue_and_some_of_nobody() -> None:
    worn = torch.zeros(5, 120, HUES)
    worn[:, :, 1] = 1
    data = {
        "senses": torch.zeros(5, 120, SENSES),
        "person_present": worn,
        "moments": worn[..., None],
    }
    batch = training.Pairs(data).sequences(torch.Generator().manual_seed(0))
    assert batch["moments"].shape == (training.FILTER_BATCH, training.FILTER_LENGTH, 1, 1)
    assert torch.equal(batch["moments"][..., 0], batch["person_present"])
    assert 1 - batch["person_present"].mean().item() == pytest.approx(training.NOBODY)


def test_stretches_without_a_frame_are_drawn_and_bounded() -> None:
    g = torch.Generator().manual_seed(0)
    kept = torch.cat([training.frames_kept(96, g) for _ in range(20)])
    assert set(kept.unique().tolist()) == {0.0, 1.0}
    lost = 1 - kept.mean(1)
    assert 0.1 < lost.mean() < 0.4
    assert lost.max() <= training.SPANS * training.SPAN_FRAMES / 96
    assert (lost == 0).float().mean() > 0.2


@pytest.fixture(scope="module")
def walks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hues walk about as coloured blocks before a body that turns; where they are is known."""
    rng = np.random.default_rng(0)
    episodes, frames = 6, 60
    frame = np.full((episodes, frames, 64, 64, 3), 90, np.uint8)
    cells = np.zeros((episodes, frames, HUES + 1, 16, 16), np.uint8)
    xy, seen = np.zeros((episodes, frames, HUES, 2)), np.zeros((episodes, frames, HUES))
    colours = ((230, 30, 30), (30, 220, 40))
    for e in range(episodes):
        for hue, colour in enumerate(colours):
            column = np.clip(8 + np.cumsum(rng.normal(0, 0.4, frames)), 1, 14).round().astype(int)
            for t, c in enumerate(column):
                top = 2 + 7 * hue
                frame[e, t, 4 * top : 4 * top + 24, 4 * c : 4 * c + 4] = colour
                cells[e, t, hue, top : top + 6, c] = 255
                xy[e, t, hue] = 2.0, (8 - c) / 8
                seen[e, t, hue] = 1
    file = tmp_path_factory.mktemp("walks") / "part.npz"
    np.savez(
        file, frame=frame, cells=cells, person_xy=xy, person_seen=seen, person_present=seen,
        person_since=np.zeros_like(seen), proprio=np.zeros((episodes, frames, SENSES - 6)),
        imu=np.zeros((episodes, frames, 5, 6)),
    )  # fmt: skip
    return file


def test_both_of_two_people_are_found_and_followed(walks: Path) -> None:
    torch.set_num_threads(1)  # two under load wait for each other
    torch.manual_seed(0)
    finder, net, said = Finder(HUES), People(SENSES, MEMORY), []
    training.train_finder(finder, [walks], 150, 0, lambda n, parts: said.append((n, parts)))
    training.train_people(
        net,
        finder,
        [walks],
        150,
        0,
        lambda n, parts: said.append((n, parts)),
        Senses.of(LAYOUT),
        0.5,
    )
    assert [n for n, _ in said] == [100, 150] * 2
    assert said[1][1]["finder"] < 0.5 * said[0][1]["finder"]
    data = training.what_was_found(finder, walks)
    with torch.no_grad():
        there = torch.ones(data["senses"].shape[:2])
        fields = net.fields(people_along(net, data["senses"], data["moments"], there))
    late, two = fields[:, 20:], data["person_seen"][:, 20:] > 0
    apart = (late[..., 1:3] - data["person_xy"][:, 20:]).norm(dim=-1)
    assert apart[two].median() < 0.15
    assert (late[..., 0][two] > 0).float().mean() > 0.98
    assert (late[..., 0][~two] > 0).float().mean() < 0.02
