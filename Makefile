# Short names for the commands in CONTRIBUTING.md.
.PHONY: setup test slow lint checked ci annotate fuzz callgrind bench

setup:
	sh .ci/setup lint

test:
	sh tests/run

slow:
	sh tests/run -m slow

lint:
	sh .ci/lint

checked:
	sh .ci/checked

ci:
	bash .ci/run

# The parser: Python in its C (yellow), faults found by coverage. All stages: instructions counted.
python = $(or $(CAPSULE_VENV),.venv)/bin/python

annotate:
	sh .ci/setup test
	$(python) benchmarks/annotate.py

fuzz:
	sh tests/fuzz/run $(SECONDS)

callgrind:
	sh .ci/setup lint
	$(python) -m benchmarks.parse callgrind
	$(python) -m benchmarks.instructions

# The table of goals (benchmarks/README.md); `make bench SIZE=full` for the real one.
bench:
	sh .ci/setup test
	$(python) -m benchmarks.table --size $(or $(SIZE),short)
