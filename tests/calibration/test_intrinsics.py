"""The camera solver on views whose truth is known."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from calibration.board import Board, parse_board
from calibration.bundle_adjustment import Solution, View, adjust, bend
from calibration.errors import DataError
from calibration.intrinsics import FAMILIES, solve_intrinsics
from calibration.lens_checks import findings_of, quality_of, result_of
from calibration.lens_trust import grid_px, projection_change
from calibration.projection import project, rays

BOARD = parse_board("chessboard:9x6:25mm")
SIZE = (640, 480)
PINHOLE = np.array([520.0, 518.0, 322.0, 236.0, -0.25, 0.06, 0.001, -0.0005, 0.0])
FISHEYE = np.array([300.0, 300.0, 319.0, 241.0, -0.02, 0.004, 0.0, 0.0])


def views(
    lens=PINHOLE,
    model="pinhole",
    count=24,
    noise=0.1,
    seed=0,
    board=BOARD,
    reach=0.42,
    tilt=0.6,
    sag=(0, 0),
):
    """Views of a board all over the picture: (views, rng)."""
    rng = np.random.default_rng(seed)
    middle, out = board.points.mean(0), []
    points = bend(board.points, np.array(sag))[0]
    while len(out) < count:
        at = (rng.uniform(0.5 - reach, 0.5 + reach, 2)) * SIZE
        direction = rays(model, lens, at[None])[0]
        lean = rng.normal(size=2)
        lean *= rng.uniform(0.2 * tilt, tilt) / np.linalg.norm(lean)
        turn = cv2.Rodrigues(np.array([*lean, rng.normal(0, 0.3)]))[0]
        distance = rng.uniform(0.25, 0.6)
        pose = np.concatenate(
            [cv2.Rodrigues(turn)[0].ravel(), direction * distance - turn @ middle]
        )
        pixels = project(model, lens, pose, points)[0]
        if ((pixels > 0) & (pixels < np.array(SIZE) - 1)).all():
            out.append(
                View(f"v{len(out)}", board.points, pixels + rng.normal(0, noise, pixels.shape))
            )
    return out


def truth(lens, model="pinhole"):
    family = FAMILIES[model]
    return Solution(family, lens, np.zeros((1, 6)), [], np.eye(len(lens)), np.eye(len(lens)))


def levels(fit):
    return {f.level for f in findings_of(fit)}


@pytest.mark.parametrize("model", ["pinhole", "fisheye"])
def test_the_derivatives_are_those_of_the_projection(model):
    lens = PINHOLE if model == "pinhole" else FISHEYE
    pose = np.array([0.2, -0.3, 0.1, 0.02, -0.03, 0.5])
    points = BOARD.points[:7] + [0, 0, 0.01]
    _, by_lens, by_pose, by_points = project(model, lens, pose, points)
    for i in range(len(lens)):
        step = np.zeros_like(lens)
        step[i] = 1e-6
        change = (
            project(model, lens + step, pose, points)[0]
            - project(model, lens - step, pose, points)[0]
        )
        assert change / 2e-6 == pytest.approx(by_lens[..., i], abs=2e-4)
    for i in range(6):
        step = np.zeros(6)
        step[i] = 1e-6
        change = (
            project(model, lens, pose + step, points)[0]
            - project(model, lens, pose - step, points)[0]
        )
        assert change / 2e-6 == pytest.approx(by_pose[..., i], rel=1e-3, abs=1e-2)
    step = np.array([0, 0, 1e-6])
    change = (
        project(model, lens, pose, points + step)[0] - project(model, lens, pose, points - step)[0]
    )
    assert change / 2e-6 == pytest.approx(by_points[..., 2], rel=1e-3, abs=1e-2)


@pytest.mark.parametrize("model", ["pinhole", "fisheye"])
def test_a_lens_comes_back(model):
    lens = PINHOLE if model == "pinhole" else FISHEYE
    noise = 0.1 if model == "pinhole" else 0.05
    fit = solve_intrinsics(views(lens, model, noise=noise), SIZE)
    assert fit.model == model
    change = projection_change(fit.solution, truth(lens, model), grid_px(SIZE))
    assert np.median(change) < 5 * np.median(fit.std_px) < 1.2
    assert quality_of(fit)["held_out_px"] == pytest.approx(1.4 * noise, abs=0.02)
    assert not levels(fit), findings_of(fit)


def test_the_intervals_hold_the_truth():
    inside = []
    for seed in range(20):
        fit = solve_intrinsics(views(PINHOLE, seed=seed, count=20), SIZE, "pinhole")
        off = np.abs(fit.wide.lens - PINHOLE)[:4]
        wide = np.sqrt(np.maximum(np.diag(fit.wide.covariance), np.diag(fit.wide.robust)))[:4]
        inside.append(off < 1.96 * wide)
    assert np.mean(inside, axis=0).min() >= 0.85


def test_a_bad_view_is_named_and_left_out():
    seen = views(PINHOLE)
    seen[7].pixels[:] += np.random.default_rng(1).normal(0, 3, seen[7].pixels.shape)
    fit = solve_intrinsics(seen, SIZE)
    assert list(fit.bad_views) == ["v7"]
    assert np.median(projection_change(fit.solution, truth(PINHOLE), grid_px(SIZE))) < 0.45


@pytest.mark.parametrize(("share", "level"), [(0.01, None), (0.2, "FAIL")])
def test_wild_corners_are_left_out_and_too_many_fail(share, level):
    rng = np.random.default_rng(3)
    seen = views(PINHOLE, seed=2)
    for view in seen:
        wild = rng.random(len(view.pixels)) < share
        view.pixels[wild] += rng.uniform(-25, 25, (wild.sum(), 2))
    fit, clean = solve_intrinsics(seen, SIZE), solve_intrinsics(views(PINHOLE, seed=2), SIZE)
    assert np.median(projection_change(fit.solution, clean.solution, grid_px(SIZE))) < 0.15
    assert fit.outlier_share == pytest.approx(share, rel=0.4)
    assert (level in levels(fit)) if level else not levels(fit), findings_of(fit)


def test_only_the_centre_is_no_pass_and_the_region_is_named():
    fit = solve_intrinsics(views(PINHOLE, reach=0.1), SIZE)
    assert levels(fit)
    assert any(
        "seen" in f.cause and ("left" in f.cause or "right" in f.cause) for f in findings_of(fit)
    )


def test_few_views_and_no_tilt_are_no_pass():
    fit = solve_intrinsics(views(PINHOLE, count=6), SIZE)
    assert "not enough data: 6 good views" in findings_of(fit)[0].cause
    flat = solve_intrinsics(views(PINHOLE, tilt=0.02), SIZE)
    assert any("tilted in 0 of 8 directions" in f.cause for f in findings_of(flat))
    with pytest.raises(DataError, match="found in 2 pictures"):
        solve_intrinsics(views(PINHOLE, count=2), SIZE)


@pytest.mark.parametrize(
    ("apart_px", "says"),
    [
        (0.49, None),
        (0.6, "take more views; both halves should cover the whole picture"),
        (np.inf, "take more views"),
    ],
)
def test_halves_that_disagree_are_no_pass(apart_px, says):
    fit = solve_intrinsics(views(PINHOLE, noise=0.4, count=12), SIZE)
    found = [f for f in findings_of(replace(fit, half_split_px=apart_px)) if "hal" in f.cause]
    assert [(f.level, f.next) for f in found] == ([("MARGINAL", says)] if says else [])


def test_a_lens_that_changes_from_view_to_view_is_more_than_chance():
    moved = PINHOLE + np.array([30.0, 30.0, 0, 0, *[0] * 5])
    mixed = [v for pair in zip(views(PINHOLE), views(moved, seed=1), strict=True) for v in pair]
    found = [
        f for f in findings_of(solve_intrinsics(mixed, SIZE)) if "chance would give" in f.cause
    ]
    assert found and "hold focus, zoom, mirroring" in found[0].next


def test_a_bent_board_is_measured_and_told():
    fit = solve_intrinsics(views(PINHOLE, sag=(0.004, 0.0)), SIZE)
    assert fit.solution.family.name == "pinhole-bent"
    assert abs(fit.solution.sag_m[0]) == pytest.approx(0.004, rel=0.1)
    assert any("bent by" in f.cause for f in findings_of(fit))
    assert np.median(projection_change(fit.solution, truth(PINHOLE), grid_px(SIZE))) < 0.45


def test_a_squeezed_picture_is_told():
    squeezed = PINHOLE.copy()
    squeezed[0] *= 0.75
    fit = solve_intrinsics(views(squeezed), SIZE)
    assert any("not square" in f.cause for f in findings_of(fit))


def test_the_result_has_the_keys_of_the_format():
    result = result_of(solve_intrinsics(views(PINHOLE, count=12), SIZE))
    assert {"model", "image_size", "camera_matrix", "distortion", "std"} <= set(result)
    assert result["image_size"] == [640, 480]


def test_the_same_views_give_the_same_numbers():
    one, two = (solve_intrinsics(views(PINHOLE), SIZE) for _ in range(2))
    assert np.array_equal(one.solution.lens, two.solution.lens)


def test_eliminating_poses_changes_nothing():
    """The reduced step solves the same least squares as all unknowns at once."""
    from scipy.optimize import least_squares

    seen = views(PINHOLE, count=4)
    fit = solve_intrinsics(seen, SIZE, "pinhole")
    family = FAMILIES["pinhole"]
    ours = adjust(family, seen, fit.wide.lens, fit.wide.poses)

    def residuals(x):
        poses = x[9:].reshape(-1, 6)
        return np.concatenate(
            [
                (project("pinhole", x[:9], p, v.points)[0] - v.pixels).ravel()
                for p, v in zip(poses, seen, strict=True)
            ]
        )

    start = np.concatenate([ours.lens, ours.poses.ravel()])
    theirs = least_squares(residuals, start, x_scale="jac", xtol=1e-14, ftol=1e-14)
    assert theirs.cost * 2 == pytest.approx(sum((r**2).sum() for r in ours.residuals), rel=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("chessboard:9x6:25", "no unit"),
        ("chessboard:9x6:25m", "check the unit"),
        ("chessboard:9x6", "not understood"),
        ("chessboard:9by6:25mm", "size"),
        ("charuco:5x7:30mm:40mm:DICT_5X5_100", "square comes first"),
        ("charuco:5x7:40mm:30mm:DICT_9", "DICT_5X5_100"),
        ("circles:9x6:25mm", "not understood"),
    ],
)
def test_a_board_that_makes_no_sense_is_refused(text, message):
    with pytest.raises(DataError, match=message):
        parse_board(text)


def test_boards_say_what_they_are():
    for text in ("chessboard:9x6:25mm", "charuco:5x7:40mm:30mm:DICT_5X5_100"):
        assert str(parse_board(text)) == text
    assert parse_board("chessboard:9x6:2.5cm") == Board("chessboard", 9, 6, 0.025)
    assert len(parse_board("charuco:5x7:40mm:30mm:DICT_5X5_100").points) == 24
