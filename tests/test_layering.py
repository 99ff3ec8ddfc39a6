"""Who may import whom; parsed from the source, so that nobody has to remember it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = {
    "firmware_bridge": set(),
    "models": set(),
    "calibration": set(),
    "runtime": {"firmware_bridge", "models", "calibration"},
    "tools": {"firmware_bridge", "models", "calibration", "runtime"},
}
CLOCKS = {"time", "datetime"}
# The only modules below tools that may read a clock, besides tests.
MAY_READ_CLOCK = {"runtime/clock.py"}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("package", LAYERS)
def test_layers_import_only_what_is_below(package: str) -> None:
    allowed = LAYERS[package] | {package}
    files = list((ROOT / package).rglob("*.py"))
    assert files
    for path in files:
        wrong = (imports(path) & set(LAYERS)) - allowed
        assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"


@pytest.mark.parametrize("package", [p for p in LAYERS if p != "tools"])
def test_only_the_clock_module_reads_a_clock(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        name = str(path.relative_to(ROOT))
        if name not in MAY_READ_CLOCK:
            assert not imports(path) & CLOCKS, f"{name} reads a clock"


def test_the_controller_process_imports_nothing_heavy() -> None:
    """What the 100 Hz process imports, over all our own modules it reaches."""
    seen: set[str] = set()
    outside: set[str] = set()
    todo = ["runtime/controller.py", "firmware_bridge/serial_port.py", "models/policy.py"]
    while todo:
        name = todo.pop()
        if name in seen or not (ROOT / name).is_file():
            continue
        seen.add(name)
        for node in ast.parse((ROOT / name).read_text()).body:
            modules = []
            if isinstance(node, ast.Import):
                modules = [n.name for n in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                modules = [node.module]
            for module in modules:
                if module.split(".")[0] in LAYERS:
                    todo.append(module.replace(".", "/") + ".py")
                else:
                    outside.add(module.split(".")[0])
    assert not outside & {
        "cv2",
        "zmq",
        "torch",
        "mujoco",
        "foxglove",
        "starlette",
        "json",
        "logging",
    }
