import numpy as np
import pytest

from calibration.camera import LensCamera, PinholeCamera, Remap, remap, remap_table
from calibration.errors import LensError

PINHOLE = PinholeCamera(128, 96, 62.0, 62.0, 63.5, 47.5)
LENSES = [
    LensCamera(PINHOLE, (0.0, 0.0, 0.0, 0.0, 0.0)),
    LensCamera(PINHOLE, (-0.12, 0.02, 0.0, 0.0, 0.0)),
    LensCamera(PINHOLE, (-0.10, 0.02, 0.002, -0.003, 0.001)),
]
VIRTUAL = PinholeCamera(64, 64, 46.0, 46.0, 31.5, 31.5)


@pytest.mark.parametrize("lens", LENSES)
def test_project_undoes_unproject_at_every_pixel(lens):
    pixels = lens.pinhole.pixels()
    assert np.abs(lens.project(lens.unproject(pixels)) - pixels).max() < 1e-6


@pytest.mark.parametrize("lens", LENSES)
def test_rays_agree_with_opencv(lens):
    cv2 = pytest.importorskip("cv2")
    p = lens.pinhole
    matrix = np.array([[p.fx, 0, p.cx], [0, p.fy, p.cy], [0, 0, 1.0]])
    distortion = np.array(lens.distortion)
    pixels = p.pixels()
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 200, 1e-12)
    if hasattr(cv2, "undistortPointsIter"):  # OpenCV 4
        theirs = cv2.undistortPointsIter(pixels[:, None], matrix, distortion, None, None, criteria)
    else:
        theirs = cv2.undistortPoints(pixels[:, None], matrix, distortion, criteria=criteria)
    ours = lens.unproject(pixels)
    assert np.abs(theirs[:, 0] - ours[:, :2]).max() < 1e-6
    seen, _ = cv2.projectPoints(ours, np.zeros(3), np.zeros(3), matrix, distortion)
    assert np.abs(seen[:, 0] - pixels).max() < 1e-6


def test_a_lens_that_folds_is_refused():
    with pytest.raises(LensError, match="no inverse"):
        LensCamera(PINHOLE, (-0.6, 0.0, 0.0, 0.0, 0.0)).unproject(PINHOLE.pixels())


def test_remap_agrees_with_opencv():
    cv2 = pytest.importorskip("cv2")
    table = remap_table(LENSES[1], VIRTUAL)
    rng = np.random.default_rng(1)
    image = cv2.GaussianBlur(rng.integers(0, 256, (96, 128, 3), dtype=np.uint8), (5, 5), 0)
    theirs = cv2.remap(image, *table, cv2.INTER_LINEAR)
    assert np.abs(remap(image, table).astype(int) - theirs).max() <= 3  # OpenCV: 1/32 px steps


def test_remap_of_the_same_camera_changes_nothing_and_black_lies_outside():
    image = np.random.default_rng(2).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    assert np.array_equal(remap(image, remap_table(LENSES[0], PINHOLE)), image)
    far = (np.full((4, 4), -5.0, np.float32), np.full((4, 4), 3.0, np.float32))
    assert not remap(image, far).any()
    with pytest.raises(LensError, match="rows and columns"):
        Remap(far, 64, 64)(image)


def test_the_virtual_camera_of_the_bundle_sees_no_black_border():
    white = np.full((96, 128, 3), 255, np.uint8)
    assert remap(white, remap_table(LENSES[1], VIRTUAL)).min() == 255
