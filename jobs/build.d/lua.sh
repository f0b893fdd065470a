# Lua, an interpreter in C that needs setjmp. jobs/build sources this file.

# The crate that has the sources of Lua, and the version of Lua in it.
lua_crate=lua-src lua_crate_version=551.1.0 lua_version=lua-5.4.9

lua_guests() {
    local name=conformance-lua dir=tests/guests/conformance/lua sum
    sum=$(digest "${debian_cpp[*]} $pypi_zig $lua_crate $lua_crate_version" "$dir" jobs/build.d/cpp.sh jobs/build.d/lua.sh)
    is_current "$name" "$sum" && return 0
    get_eh
    crate_source "$lua_crate" "$lua_crate_version"
    say "compiling $name with ${eh_cc[*]}"
    "${eh_cc[@]}" -std=gnu11 -O2 -w -D_WASI_EMULATED_SIGNAL -D_WASI_EMULATED_PROCESS_CLOCKS -include "$dir/host.h" "-I$source/$lua_version" \
        "$source/$lua_version"/*.c "$dir/main.c" "$eh/tags.o" "$eh/setjmp.o" -lwasi-emulated-signal -lwasi-emulated-process-clocks -Wl,--strip-debug -o "$out/.$name.out"
    keep "$name" "$sum" "$out/.$name.out"
    rm "$out/.$name.out"
}

# crate_source NAME VERSION: sets $source to the sources of a crate, which cargo downloads and checks.
crate_source() {
    local project=$out/.crate
    rm -rf "$project"
    mkdir -p "$project"
    printf '[package]\nname = "sources"\n[lib]\npath = "empty.rs"\n[dependencies]\n%s = "=%s"\n[workspace]\n' "$1" "$2" >"$project/Cargo.toml"
    : >"$project/empty.rs"
    source=$(cargo metadata --format-version 1 --manifest-path "$project/Cargo.toml" 2>"$log" | python3 -c '
import json, os, sys
print(*{os.path.dirname(p["manifest_path"]) for p in json.load(sys.stdin)["packages"] if p["name"] == sys.argv[1]})' "$1") ||
        die "cargo cannot fetch the crate $1 (see $log)"
    rm -rf "$project"
}
