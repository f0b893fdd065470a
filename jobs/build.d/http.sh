# Components that answer HTTP, by toolchains of other hosts. jobs/build sources this file.

http_guests() {
    componentize_py http-python tests/guests/http/python handler app handler_world tests/guests/http/http.wit
    http_cargo spin
    http_cargo wasmcloud
}

# http_cargo NAME: compiles tests/guests/http/NAME, a Cargo workspace of its own with the crates of a host.
http_cargo() {
    local name=http-$1 dir=tests/guests/http/$1 sum
    sum=$(digest "$rust_id" "$dir" jobs/build.d/http.sh)
    is_current "$name" "$sum" && return 0
    get_rust
    say "compiling for wasm32-wasip2: $name"
    crt=crt1-reactor.o "cargo_$rust" wasm32-wasip2 build --release --locked --target wasm32-wasip2 --target-dir "$out/.cargo-http" \
        --manifest-path "$dir/Cargo.toml"
    keep "$name" "$sum" "$out/.cargo-http/wasm32-wasip2/release/http_$1.wasm"
}

# The world `handler` of the components that answer HTTP.
handler_world() { wit_world wasmtime-wasi-http wit/deps tests/guests/http/http.wit; }
