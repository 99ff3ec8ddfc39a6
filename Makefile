# Every target sets up what it needs into .venv first; that is quick when it is already there.
PYTHON ?= python3
SETUP = @$(PYTHON) tools/setup_env.py
BIN = .venv/bin
ARGS ?=
# Tests run two at a time: threads of their own would only wait for each other.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest

.PHONY: setup run test check bench train firmware

setup: ; $(SETUP) run
run: ; $(SETUP) run && { $(BIN)/companion run --duration 60 --stay $(ARGS); code=$$?; [ $$code -eq 3 ] || exit $$code; }
test: ; $(SETUP) test && $(PYTEST) -m "not closed_loop and not heavy" $(ARGS)
check: ; $(SETUP) test && $(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(PYTEST) -m closed_loop $(ARGS)
bench: ; $(SETUP) test && $(BIN)/companion bench $(ARGS)
train: ; $(SETUP) train && $(BIN)/companion model train $(ARGS)
firmware: ; $(SETUP) firmware && $(BIN)/companion firmware build --target mps2 $(ARGS) && $(BIN)/companion firmware build --target stm32f405 $(ARGS)
