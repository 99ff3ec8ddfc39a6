"""A mirrored episode is what the other room would have given: twice mirrored, itself."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: `make train` installs it")

from models.layout import GOAL_SIZE, SKILLS, goal_vector  # noqa: E402
from models.mirror import Mirror  # noqa: E402
from runtime.body import load_body  # noqa: E402

pytestmark = pytest.mark.heavy  # torch alone takes seconds to import; `.ci/run` installs it

LAYOUT = load_body("companion").layout()
MIRROR = Mirror(LAYOUT, side_rad=0.1, lead_s=0.4)
LEARNED = len(SKILLS) - 1


def batch() -> dict:
    g = torch.Generator().manual_seed(0)

    def some(*shape: int) -> torch.Tensor:
        return torch.randn(1, 3, *shape, generator=g)

    p, a = LAYOUT.proprio_size, LAYOUT.action_size
    return {
        "frame": torch.randint(0, 256, (1, 3, 64, 64, 3), generator=g, dtype=torch.uint8),
        "imu": some(5, 6), "proprio": some(p), "odometry": some(), "action": some(a),
        "tick_age_s": some(), "tick_proprio": some(p), "tick_imu": some(6),
        "expert": some(LEARNED, a), "goal": some(LEARNED, GOAL_SIZE), "near": some(12),
        "person_seen": torch.zeros(1, 3, 6),
    }  # fmt: skip


def test_twice_mirrored_is_the_episode_itself() -> None:
    once = batch()
    again = MIRROR(MIRROR(once))
    assert all(torch.equal(again[key], once[key]) for key in again)


def test_left_and_right_are_exchanged_and_turns_change_their_sign() -> None:
    it = batch()
    out = MIRROR(it)
    left, right, yaw, pitch = (
        LAYOUT.proprio_names.index(n) for n in
        ("wheel_left.velocity", "wheel_right.velocity", "head_yaw.position", "head_pitch.position")
    )  # fmt: skip
    assert torch.equal(out["proprio"][..., left], it["proprio"][..., right])
    assert torch.equal(out["proprio"][..., yaw], -it["proprio"][..., yaw])
    assert torch.equal(out["proprio"][..., pitch], it["proprio"][..., pitch])
    ahead, aside, gyro_pitch, gyro_yaw = 0, 1, 4, 5
    for place, sign in ((ahead, 1), (aside, -1), (gyro_pitch, 1), (gyro_yaw, -1)):
        assert torch.equal(out["imu"][..., place], sign * it["imu"][..., place])
    assert torch.equal(out["near"][..., 1], it["near"][..., 11])
    assert torch.equal(out["near"][..., 0], it["near"][..., 0])
    assert torch.equal(out["frame"][0, 0, :, 0], it["frame"][0, 0, :, 63])


def test_a_place_to_the_left_lies_to_the_right_and_colours_stay() -> None:
    it = batch()
    goal = goal_vector(position_m=(1.0, 0.5), heading_rad=0.3, appearance=(0.1, 0.2, 0.3))
    it["goal"][:] = torch.from_numpy(goal)
    wanted = goal_vector(position_m=(1.0, -0.5), heading_rad=-0.3, appearance=(0.1, 0.2, 0.3))
    assert np.allclose(MIRROR(it)["goal"][0, 0, 0].numpy(), wanted)


def test_where_nothing_says_which_side_a_moment_is_left_out() -> None:
    it = batch()
    it["imu"][..., 5], it["proprio"][..., LAYOUT.proprio_names.index("head_yaw.position")] = 0, 0
    it["person_seen"][0, 1, 2] = 1
    it["imu"][0, 2, :, 5] = 1.0
    assert MIRROR.decided(it)[0].tolist() == [False, True, True]
