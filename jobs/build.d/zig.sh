# Zig, from PyPI. jobs/build sources this file.

pypi_zig=ziglang==0.17.1

zig_guests() {
    local name=conformance-zig dir=tests/guests/conformance/zig sum
    sum=$(digest "$pypi_zig" "$dir" jobs/build.d/zig.sh)
    is_current "$name" "$sum" && return 0
    pypi zig "$pypi_zig"
    say "compiling $name with $pypi_zig"
    # With checks: a panic is a trap in the function that failed.
    env ZIG_GLOBAL_CACHE_DIR="$out/.zig" ZIG_LOCAL_CACHE_DIR="$out/.zig" "$site/ziglang/zig" \
        build-exe -target wasm32-wasi -O ReleaseSafe --name conformance "-femit-bin=$out/.$name.out" "$dir/conformance.zig"
    keep "$name" "$sum" "$out/.$name.out"
    rm "$out/.$name.out"
}
