# Short names for the commands in CONTRIBUTING.md.
.PHONY: setup test slow lint checked ci

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
