# Each target sets up what it needs, and hands ARGS on: make demo ARGS="--limit 1000".

ARGS ?=
BIN := .venv/bin

.PHONY: help
help: ## what can be made (this list)
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo '  Options go through ARGS: make demo ARGS="--limit 1000", make test ARGS="-k treasury"'

.PHONY: demo
demo: ## a fleet, a broker and a day of requests, decided and checked before your eyes
	@sh ops/setup.sh java
	@$(BIN)/spaceos demo $(ARGS)

.PHONY: test
test: ## all tests, on real servers, the same each time
	@sh ops/setup.sh java postgresql
	@PYTHONHASHSEED=0 $(BIN)/pytest $(ARGS)

# Until one fails: while make fuzz; do :; done
.PHONY: fuzz
fuzz: ## new examples and schedules, from a seed that is printed (again: ARGS="--hypothesis-seed=N")
	@sh ops/setup.sh java postgresql
	@$(BIN)/pytest -m "hypothesis or chance" --timeout 900 --hypothesis-seed=new $(ARGS)

.PHONY: check
check: ## style, types and the direction of imports
	@sh ops/setup.sh
	@$(BIN)/ruff check $(ARGS)
	@$(BIN)/ruff format --check $(ARGS)
	@$(BIN)/mypy
	@$(BIN)/pyright
	@$(BIN)/lint-imports

.PHONY: bench
bench: ## how fast, against what it is measured by
	@sh ops/setup.sh java postgresql
	@$(BIN)/spaceos bench $(ARGS)

.PHONY: setup
setup: ## only what the others need
	@sh ops/setup.sh java postgresql

.PHONY: clean
clean: ## stop the local servers and remove what the other targets made; data and keys stay in .spaceos
	-@$(BIN)/spaceos kafka stop
	-@$(BIN)/spaceos postgres stop
	@rm -rf .venv *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
