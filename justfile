set shell := ["bash", "-euo", "pipefail", "-c"]

# Tools that recipes install for themselves live in the target folder, so that `clean` removes them too.
tools := justfile_directory() / "target/tools"
export PATH := tools / "bin:" + env("PATH")

# List the recipes.
default:
    @{{ quote(just_executable()) }} --justfile {{ quote(justfile()) }} --list --unsorted

# Build the library and the command.
build *args:
    cargo build --workspace {{ args }}

# Compile the guest programs to target/guests; what has not changed is taken from the cache.
jobs *args:
    jobs/build {{ args }}

# Start a daemon, push the first-party jobs, stream real input through them, and stop it.
demo *args: build jobs
    jobs/demo {{ args }}

# Run the command, for example `./just run daemon` or `./just run info`.
run *args:
    cargo run --quiet --package capstan --bin capstan -- {{ args }}

# Run all tests: unit (those of guests too), documentation, integration and end to end.
test *args: (jobs "--test")
    cargo test --workspace {{ args }}

# Check the units of packaging/ with systemd's own tool, and that their command line starts a daemon.
units: jobs
    @command -v systemd-analyze >/dev/null || { echo "units: systemd-analyze is not installed, so systemd has not checked them" >&2; exit 1; }
    cargo test --package capstan --test e2e -- units:: --nocapture

# Run the integration tests against daemons that refuse to start with less than full confinement.
strict *args: (jobs "--test")
    CAPSTAN_TEST_CONFINE=strict cargo test --package capstan --test it {{ args }}

# Run only the end-to-end tests of the real command.
e2e *args: jobs
    cargo test --package capstan --test e2e {{ args }}

# Measure requests a second against a bare server, processes, and a crowd, under the profile of the tests.
bench *args: build jobs
    cargo bench --profile dev --package capstan --bench requests {{ args }}

# Run 200,000 jobs of all kinds, and see that memory, files and threads end where they began.
soak *args: build jobs
    cargo bench --profile dev --package capstan --bench soak {{ args }}

# Fuzz a target of tests/fuzz with a nightly toolchain, for example `./just fuzz frames 10m`; without a target, list them.
fuzz *args:
    tests/fuzz/run {{ args }}

# Change the sources where limits and grants are decided, one thing at a time, and list what no unit test notices.
mutants *args: _cargo-mutants
    cargo mutants --package capstan --output target {{ args }}

# Format the sources.
fmt:
    cargo fmt --all
    cargo fmt --manifest-path tests/fuzz/Cargo.toml

# Fail if a source file is not formatted.
fmt-check:
    cargo fmt --all --check
    cargo fmt --manifest-path tests/fuzz/Cargo.toml --check

# Run clippy over everything; a warning is an error.
lint *args:
    cargo clippy --workspace --all-targets {{ args }} -- -D warnings

# Build the documentation; a broken link is an error.
doc *args:
    RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps --document-private-items {{ args }}

# Check the dependencies' licences, sources and duplicates.
deny: _cargo-deny
    cargo deny --workspace check bans licenses sources
    cargo deny --manifest-path tests/fuzz/Cargo.toml check bans licenses sources

# Run every gate as CI does, and print the time of each.
ci *args:
    .ci/run {{ args }}

# Remove everything that was built, the installed tools included.
clean:
    cargo clean

_cargo-deny:
    @command -v cargo-deny >/dev/null || cargo install --quiet --locked --root {{ quote(tools) }} cargo-deny@0.20.2

_cargo-mutants:
    @command -v cargo-mutants >/dev/null || cargo install --quiet --locked --root {{ quote(tools) }} cargo-mutants@27.1.0
