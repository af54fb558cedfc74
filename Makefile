# Two commands need nothing but this checkout and Python 3.11 to 3.13: `make book` and `make test`.
# The same steps without make are in README.md.

PROFILE ?= demo#      demo, isic2017-256 or paper
DATA ?=#              folder of the real images in the official layout
PYTHON ?= python3#    any: set-up looks further if it is too old
BIN := .venv/bin

.PHONY: book test test-slow check bench faults clean

book:  ## data, training, notebooks, site: prints the path of the front page and what each part took
	@$(PYTHON) setup_venv.py book
	@$(BIN)/arlrepro book --profile "$(PROFILE)" $(if $(DATA),--data "$(DATA)")

test:  ## unit tests, docstring examples, every notebook on smoke, a strict site; then the committed pages again
	@$(PYTHON) setup_venv.py book test
	$(BIN)/pytest -m "not slow"
	env -u ARLREPRO_DATA PYTHONPATH=tests/no_torch $(BIN)/pytest --nbval book/isic2017-256-imagenet book/isic2017-256-lite0 book/isic2017-256

test-slow:
	@$(PYTHON) setup_venv.py book test cluster
	$(BIN)/pytest -m slow

check:  ## style and types
	@$(PYTHON) setup_venv.py book test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench:
	@$(PYTHON) setup_venv.py book test
	$(BIN)/python -m benchmarks

faults:  ## damage what a run leaves on disk, thousands of times: what is noticed, by group; writes results/faults.json
	@$(PYTHON) setup_venv.py book test
	$(BIN)/python -m benchmarks.faults

clean:  ## what make made, but for .venv and the trained runs
	rm -rf _build
