set shell := ["bash", "-euo", "pipefail", "-c"]

# Recipes install their tools into the target directory, so that `clean` removes these too.
tools := justfile_directory() / "target/tools"
export PATH := tools / "bin:" + env("PATH")

# List the recipes.
default:
    @{{ quote(just_executable()) }} --justfile {{ quote(justfile()) }} --list --unsorted

# Build the library and the command.
build *args:
    cargo build --workspace {{ args }}

# Compile the guest programs to target/guests. Unchanged programs come from the cache.
jobs *args:
    jobs/build {{ args }}

# Build the binary that is released: optimised and stripped, with its debug information beside it.
dist:
    packaging/dist

# Start a daemon, push the first-party jobs, stream real input through them, and stop the daemon.
demo *args: (jobs "--prebuilt")
    cargo build --package capstan --no-default-features
    jobs/demo {{ args }}

# Run the command, for example `./just run daemon` or `./just run info`.
run *args:
    cargo run --quiet --package capstan --bin capstan -- {{ args }}

# Run all tests: unit tests (also those of guests), documentation, integration and end-to-end tests.
test *args: (jobs "--test")
    cargo test --workspace {{ args }}

# Check the units of packaging/ with systemd's own tool, and check that their command line starts a daemon.
units: jobs
    @command -v systemd-analyze >/dev/null || { echo "units: cannot check the units: systemd-analyze is not installed; install systemd" >&2; exit 1; }
    cargo test --package capstan --test e2e -- systemd_units:: --nocapture

# Run the integration tests with daemons that refuse to start without full confinement.
strict *args: (jobs "--test")
    CAPSTAN_TEST_CONFINE=strict cargo test --package capstan --test it {{ args }}

# Run only the end-to-end tests of the real command.
e2e *args: jobs
    cargo test --package capstan --test e2e {{ args }}

# Test the pages of handlers in headless Chromium, which is installed if there is none.
browser: (jobs "--prebuilt")
    cargo build --package capstan
    tests/browser/run

# Measure requests per second, also of a bare server and of native processes, and many guests at once, with the profile of the tests.
bench *args: build jobs
    cargo bench --profile dev --package capstan --bench requests -- {{ args }}

# Run the benchmark just long enough to see that it works.
bench-smoke: (bench "smoke")

# Compare two tables that `./just bench save=NAME` has saved, for example `./just bench-compare before after`.
bench-compare before after: (bench "compare" before after)

# Measure the store of durable jobs: acknowledged submits, claims in a long queue, and its opening. With `smoke`, a little of each.
bench-jobs *args:
    cargo bench --package capstan-store --bench jobs {{ args }}

# Measure durable jobs beside queues in PostgreSQL and Redis, which are installed if they are missing. `process` adds workers that start a
# process for each job, `smoke` measures a little.
bench-queues *args:
    tests/queues/run {{ args }}

# Kill processes that use the store of durable jobs, cut their power and fail their disk, so many times in each way; then kill daemons so
# many times in each way. Nothing that was acknowledged may be lost.
crash cycles="100":
    CRASH_CYCLES={{ cycles }} cargo test --package capstan-store --test crash -- --nocapture
    CRASH_CYCLES={{ cycles }} cargo test --package capstan --test it -- durability::crash --nocapture

# Run 200,000 jobs of all kinds, and check that memory, files and threads do not grow.
soak *args: build jobs
    cargo bench --profile dev --package capstan --bench soak -- {{ args }}

# Fuzz a target of tests/fuzz with a nightly toolchain, for example `./just fuzz frames 10m`. Without a target, list the targets.
fuzz *args:
    tests/fuzz/run {{ args }}

# Change the code that decides limits and grants, in one place at a time, and list the changes that no unit test notices.
mutants *args: _cargo-mutants
    cargo mutants --workspace --output target {{ args }}

# Format the sources.
fmt:
    cargo fmt --all
    cargo fmt --manifest-path tests/fuzz/Cargo.toml
    cargo fmt --manifest-path tests/queues/Cargo.toml

# Fail if a source file is not formatted.
fmt-check:
    cargo fmt --all --check
    cargo fmt --manifest-path tests/fuzz/Cargo.toml --check
    cargo fmt --manifest-path tests/queues/Cargo.toml --check

# Run clippy on everything. A warning is an error.
lint *args:
    cargo clippy --workspace --all-targets {{ args }} -- -D warnings

# Build the documentation. A broken link is an error.
doc *args:
    RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps --document-private-items {{ args }}

# Check that no crate can reach what its layer must not know, for example that the engine has neither hyper nor wasmtime.
boundaries:
    tests/boundaries

# Check the licences, sources and duplicates of the dependencies.
deny: _cargo-deny
    cargo deny --workspace check bans licenses sources
    cargo deny --manifest-path tests/fuzz/Cargo.toml check bans licenses sources
    cargo deny --manifest-path tests/queues/Cargo.toml check bans licenses sources

# Run all stages of CI, and print the time of each.
ci *args:
    .ci/run {{ args }}

# Remove everything that was built, and the installed tools.
clean:
    cargo clean

_cargo-deny:
    @command -v cargo-deny >/dev/null || cargo install --quiet --locked --root {{ quote(tools) }} cargo-deny@0.20.2

_cargo-mutants:
    @command -v cargo-mutants >/dev/null || cargo install --quiet --locked --root {{ quote(tools) }} cargo-mutants@27.1.0
