# `make audit` from a fresh clone to a report; `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PLAN ?= emoe_audit/recipes/plans/emoji-a.yaml
OUT ?= build/ensemble
RUN := reports/first-light
EXAMPLE := reports/example
VERIFICATION := reports/verification
EMBEDDED := emoji-a emoji-b emoji-c emoji-d
NEWEST := .venv-newest
OLDEST := .venv-oldest
HELD := ^torch(vision)?==
# Three on two cores: a browser and its server wait for each other, and for the page to settle.
WORKERS := -n 3 --dist loadfile --no-loadscope-reorder
# Tests start many processes, and each compiles the package where none may keep what it compiled.
unexport PYTHONDONTWRITEBYTECODE
FAST := -m 'not slow and not browser and not benchmark'

.PHONY: help audit test check newest test-newest test-oldest constraints lint docs dashboard dist bench bench-house bench-residency bench-elastic bench-brought bench-scale bench-ten-million bench-hostile bench-sd15 bench-statistics bench-experts bench-dashboard check-gpu schema licences verification ablations recipes example clean

help: ## what each target does
	@grep -E '^[a-z0-9-]+:.*##' Makefile | sed 's/:.*##/\t/' | expand -t 20

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,recipes,docs]'
	touch $(STAMP)

audit: $(STAMP) ## audit the embedded ensemble; says where the report is
	$(BIN)/emoe-audit run --out $(RUN)

dashboard: $(STAMP) ## look at the runs under reports/ in a browser
	$(BIN)/emoe-audit dashboard --runs reports

test: $(STAMP) ## all tests
	$(BIN)/python -m pytest $(WORKERS)

check: lint ## what to run all day: style, types, floors and the fast tests
	$(BIN)/python -m pytest $(FAST) $(WORKERS)

newest:
	$(PYTHON) -m venv --clear $(NEWEST)
	grep -E '$(HELD)' constraints.txt > $(NEWEST)/held.txt
	$(NEWEST)/bin/python -m pip install --quiet --constraint $(NEWEST)/held.txt --editable '.[dev,docs,recipes]'

test-newest: newest ## all tests with the newest versions that pyproject.toml allows; run it before each release
	$(NEWEST)/bin/python -m pytest $(WORKERS)

constraints: newest ## name those newest versions in constraints.txt; torch is held, change its lines by hand
	$(NEWEST)/bin/python -m pip freeze --exclude-editable > $(NEWEST)/frozen.txt
	(echo "# What the tests ran with on $$($(NEWEST)/bin/python -V); written by \`make constraints\`, torch and torchvision by hand."; \
	  sed 's/+.*//' $(NEWEST)/frozen.txt | sort --ignore-case) > constraints.txt

# Old packages warn of what newer ones changed, so warnings are no errors here.
test-oldest: ## the fast tests with the lowest versions that pyproject.toml allows
	$(PYTHON) -m venv --clear $(OLDEST)
	(grep -E '$(HELD)' constraints.txt; $(PYTHON) -m tests.oldest) > $(OLDEST)/lowest.txt
	$(OLDEST)/bin/python -m pip install --quiet --constraint $(OLDEST)/lowest.txt --editable '.[dev,recipes]'
	$(OLDEST)/bin/python -m pytest $(WORKERS) -W default $(FAST)

lint: $(STAMP) ## style, types and the floors of the package
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

docs: $(STAMP) ## the documentation; open build/docs/index.html
	$(BIN)/python -m sphinx -W --keep-going -b html docs build/docs

bench: $(STAMP) ## measure; figures go to reports/benchmarks/
	$(BIN)/python -m pytest tests/benchmarks -m benchmark -n 0 -s

bench-sd15: $(STAMP) ## measure at Stable Diffusion 1.5's true size; figures go to reports/benchmarks/sd15.json
	SD15_FOLDER=build/sd15 $(BIN)/python -m pytest tests/benchmarks/test_sd15_memory.py tests/benchmarks/test_sd15_speed.py -m benchmark -n 0 -s

bench-house: $(STAMP) ## measure the wheel, the checks and the floors; figures go to reports/benchmarks/house.json
	$(BIN)/python -m pytest tests/benchmarks/test_house.py -m benchmark -n 0 -s

bench-scale: $(STAMP) ## measure what the store costs from 100,000 prompts to a million, and a Ray cluster; figures go to reports/benchmarks/scale.json
	$(BIN)/python -m pytest tests/benchmarks/test_scale.py tests/benchmarks/test_ray.py tests/cluster -k "not ten_million" -m benchmark -n 0 -s

bench-ten-million: $(STAMP) ## what the store costs from a million prompts to ten; takes an hour
	$(BIN)/python -m pytest tests/benchmarks/test_scale.py -k ten_million -m benchmark -n 0 -s

bench-residency: $(STAMP) ## measure the mixture that draws, its memory budget and the queue; figures go to reports/benchmarks/residency.json
	SD15_FOLDER=build/sd15 $(BIN)/python -m pytest tests/benchmarks/test_mixture.py tests/benchmarks/test_residency.py tests/benchmarks/test_queue.py -m benchmark -n 0 -s

bench-elastic: $(STAMP) ## measure what parts of an ensemble are worth, and what growing costs; figures go to reports/benchmarks/elastic.json
	SD15_FOLDER=build/sd15 $(BIN)/python -m pytest tests/benchmarks/test_elastic.py -m benchmark -n 0 -s

bench-brought: $(STAMP) ## measure images that were brought along; figures go to reports/benchmarks/brought.json
	$(BIN)/python -m pytest tests/benchmarks/test_brought.py -m benchmark -n 0 -s

bench-hostile: $(STAMP) ## hostile files against every reader, flipped bits and kills; figures go to reports/benchmarks/hostile.json
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/benchmarks/test_hostile.py tests/benchmarks/test_hostile_runs.py -m benchmark -n 0 -s

bench-statistics: $(STAMP) ## measure the statistics; figures go to reports/benchmarks/statistics.json
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m benchmark -n 0 -s \
	  tests/benchmarks/test_abstain_promise.py tests/benchmarks/test_caption_mix.py \
	  tests/benchmarks/test_check_placebo.py tests/benchmarks/test_check_price.py \
	  tests/benchmarks/test_company.py tests/benchmarks/test_compare_ensembles.py \
	  tests/benchmarks/test_correlation_errors.py tests/benchmarks/test_gate_errors.py \
	  tests/benchmarks/test_interval_coverage.py tests/benchmarks/test_published_placebo.py tests/benchmarks/test_report_size.py \
	  tests/benchmarks/test_risk.py tests/benchmarks/test_statistics.py

bench-experts: $(STAMP) ## measure emergent experts and abstaining; figures go to reports/benchmarks/experts.json
	SD15_FOLDER=build/sd15 $(BIN)/python -m pytest tests/benchmarks/test_experts.py tests/benchmarks/test_abstain.py -m benchmark -n 0 -s

bench-dashboard: $(STAMP) ## measure the dashboard at a million prompts; figures go to reports/benchmarks/dashboard.json
	$(BIN)/python -m pytest tests/benchmarks/test_dashboard.py tests/benchmarks/test_queries.py -m benchmark -n 0 -s

check-gpu: $(if $(GPU_PYTHON),,$(STAMP)) ## check an NVIDIA GPU, in under 10 minutes; figures go to reports/benchmarks/gpu.json; GPU_PYTHON=python3 fetches nothing
	$(or $(GPU_PYTHON),$(BIN)/python) -m tests.benchmarks.gpu

schema: $(STAMP) ## the published form of report.json
	$(BIN)/python -m emoe_audit.report.schema > reports/report.schema.json

licences: $(STAMP) ## the page of what is installed along, and under which licences
	$(BIN)/python docs/_ext/licences.py

verification: $(STAMP) ## every score against known training; pages and tables go to reports/verification/
	mkdir -p $(VERIFICATION)
	for name in $(EMBEDDED); do \
	  $(BIN)/emoe-audit ensemble verify $$name --out reports/verify-$$name --json > $(VERIFICATION)/$$name.json && \
	  cp reports/verify-$$name/verification.html $(VERIFICATION)/$$name.html && \
	  $(BIN)/python -m tests.browser.picture $(VERIFICATION)/$$name.html $(VERIFICATION)/$$name.png || exit 1; \
	done

ablations: $(STAMP) ## what each choice in disagreement is worth; figures go to reports/benchmarks/
	$(BIN)/python -m emoe_audit.ground.ablations emoji-a --out reports/benchmarks/ablations.json
	$(BIN)/python -m emoe_audit.recipes.diversity emoji-a --out reports/benchmarks/diversity.json

recipes: $(STAMP) ## train an ensemble: PLAN=plan.yaml OUT=dir
	$(BIN)/python -m emoe_audit.recipes --plan $(PLAN) --out $(OUT)

dist: $(STAMP) ## sdist and wheels: the tool with emoji-a, and one of each other embedded ensemble
	$(BIN)/python -m hatchling build -d dist
	$(BIN)/python -m emoe_audit.recipes.distribution --out dist

example: audit ## the report and the pictures that are kept in git
	mkdir -p $(EXAMPLE)
	cp $(RUN)/report.html $(RUN)/report.json $(EXAMPLE)/
	$(BIN)/python -m tests.browser.picture $(EXAMPLE)/report.html $(EXAMPLE)/report.png
	$(BIN)/python -m tests.browser.pictures --runs reports --out $(EXAMPLE)

clean: ## remove the virtual environments and build products
	rm -rf $(VENV) $(NEWEST) $(OLDEST) build dist
