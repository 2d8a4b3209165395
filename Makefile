# Short names for scripts/. `make test` is the one command.

.PHONY: build test simulate roundtrip matrix soak fuzz mutants bench bench-short stack stack-status stack-logs stack-down stack-reset capture

build:         ## the consumer, optimised
	cargo build --release --bin consumer
test:          ## everything that must hold, on the real stack; installs what is missing
	scripts/test.sh
simulate:      ## real lanes in SEEDS worlds (100000) of crashes, zombies and lost answers, in virtual time
	SIMULATION_SEEDS=$(or $(SEEDS),100000) cargo test --lib simulation::every -- --nocapture
roundtrip:     ## changes at the source, seen at the target; starts what is missing
	scripts/roundtrip.sh
matrix:        ## every type, mode and format through the stack, against tests/MATRIX.md
	scripts/matrix.sh
soak:          ## load for MINUTES (3) while everything goes wrong, then a comparison
	scripts/soak.sh $(or $(MINUTES),3) $(if $(REPORT),--report $(REPORT))
fuzz:          ## hostile bytes for FUZZ_SECONDS a target (600); finds stay in fuzz/finds
	scripts/fuzz.sh
mutants:       ## the fold, the checkpoint and the fence with one thing wrong at a time, for MUTANTS.md: hours
	scripts/mutants.sh

bench:         ## the consumer beside its peer and its ceilings, into bench/RESULTS.md; PART=latency for one part
	scripts/bench.sh $(if $(PART),--part $(PART))
bench-short:   ## the same in minutes, into no file of the project
	scripts/bench.sh --short $(if $(PART),--part $(PART))
stack:         ## start the real stack, installing what is missing
	scripts/stack.sh up
stack-status:  ## one line a service
	@scripts/stack.sh status
stack-logs:    ## the last lines of every service's log
	@scripts/stack.sh logs
stack-down:    ## stop it, keep its data
	scripts/stack.sh down
stack-reset:   ## stop it and delete its data, slots and topics included
	scripts/stack.sh reset

capture:       ## tests/fixtures and schemas/ again, from the running stack
	scripts/capture.sh
