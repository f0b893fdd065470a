# Components that answer HTTP, by toolchains of other hosts. jobs/build sources this file.

http_guests() {
    http_python
    http_cargo spin
    http_cargo wasmcloud
}

http_python() {
    local name=http-python dir=tests/guests/http/python sum
    sum=$(digest "$pypi_componentize_py" "$dir" tests/guests/http/http.wit jobs/build.d/python.sh jobs/build.d/http.sh)
    is_current "$name" "$sum" && return 0
    pypi componentize-py "$pypi_componentize_py"
    http_world
    say "compiling $name with $pypi_componentize_py"
    PYTHONPATH=$site PYTHONDONTWRITEBYTECODE=1 python3 -c 'import componentize_py; componentize_py.script()' \
        --wit-path "$wit" --world handler componentize --python-path "$dir" --output "$out/.$name.out" app &>"$log" ||
        die "componentize-py failed:" "$(<"$log")"
    keep "$name" "$sum" "$out/.$name.out"
    rm "$out/.$name.out"
}

# http_cargo NAME: compiles tests/guests/http/NAME, a Cargo workspace of its own with the crates of a host.
http_cargo() {
    local name=http-$1 dir=tests/guests/http/$1 sum
    sum=$(digest "$rust_id" "$dir" jobs/build.d/http.sh)
    is_current "$name" "$sum" && return 0
    get_rust
    say "compiling for wasm32-wasip2: $name"
    crt=crt1-reactor.o "cargo_$rust" wasm32-wasip2 --release --locked --target wasm32-wasip2 --target-dir "$out/.cargo-http" \
        --manifest-path "$dir/Cargo.toml"
    keep "$name" "$sum" "$out/.cargo-http/wasm32-wasip2/release/http_$1.wasm"
}

# Sets $wit to a directory with the world `handler`. The packages of WASI 0.2 come with wasmtime-wasi-http, which cargo has anyway.
http_world() {
    wit=$out/.wit-http
    local crate
    crate=$(cargo metadata --format-version 1 --locked 2>"$log" | python3 -c '
import json, sys
print(*{p["manifest_path"] for p in json.load(sys.stdin)["packages"] if p["name"] == "wasmtime-wasi-http"})') ||
        die "cargo cannot find the crate wasmtime-wasi-http (see $log)"
    rm -rf "$wit"
    mkdir -p "$wit"
    cp -r "${crate%/*}/wit/deps" "$wit/deps"
    cp tests/guests/http/http.wit "$wit/"
}
