# Every target sets up what it needs into .venv first; that is quick when it is already there.
PYTHON ?= python3
SETUP = @$(PYTHON) tools/setup_env.py
BIN = .venv/bin
ARGS ?=

.PHONY: setup run test check bench train firmware

setup: ; $(SETUP) run
run: ; $(SETUP) run && { $(BIN)/companion run --duration 60 --stay $(ARGS); code=$$?; [ $$code -eq 3 ] || exit $$code; }
test: ; $(SETUP) test && $(BIN)/python -m pytest -m "not closed_loop and not heavy" $(ARGS)
check: ; $(SETUP) test && $(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/python -m pytest -m closed_loop $(ARGS)
bench: ; $(SETUP) test && $(BIN)/companion bench $(ARGS)
train: ; $(SETUP) train && $(BIN)/companion model train $(ARGS)
firmware: ; $(SETUP) firmware && $(BIN)/companion firmware build --target mps2 $(ARGS) && $(BIN)/companion firmware build --target stm32f405 $(ARGS)
