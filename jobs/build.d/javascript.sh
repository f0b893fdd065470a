# JavaScript and TypeScript as components over QuickJS, and AssemblyScript, with packages of npm. jobs/build sources this file.

npm_guests() {
    local conformance=tests/guests/conformance
    componentize_js conformance-javascript "$conformance/javascript" "$conformance/javascript/job.js"
    componentize_js conformance-typescript "$conformance/typescript" "$conformance/typescript/job.ts"
    assemblyscript conformance-assemblyscript "$conformance/assemblyscript"
}

# componentize_js NAME DIRECTORY SOURCE
componentize_js() {
    local name=$1 dir=$2 sum bundle=$out/.$1.js
    sum=$(digest npm "$dir" tests/guests/conformance/job.wit jobs/build.d/npm jobs/build.d/javascript.sh)
    is_current "$name" "$sum" && return 0
    npm_modules
    job_world
    say "compiling $name with componentize-qjs"
    # Removes the types, and puts all modules of the project into one.
    "$modules/.bin/esbuild" "$3" --bundle --format=esm '--external:wasi:*' "--outfile=$bundle" --log-level=warning
    # Without --sync, the component needs async functions of components, which WASI 0.2 does not have.
    "$modules/.bin/componentize-qjs" --sync --wit "$wit" --world job --js "$bundle" --output "$out/.$name.out" &>"$log" ||
        die "componentize-qjs failed:" "$(<"$log")"
    keep "$name" "$sum" "$out/.$name.out"
    rm "$bundle" "$out/.$name.out"
}

assemblyscript() {
    local name=$1 dir=$2 sum copy=$tools/npm/.source
    sum=$(digest npm "$dir" jobs/build.d/npm jobs/build.d/javascript.sh)
    is_current "$name" "$sum" && return 0
    npm_modules
    say "compiling $name with assemblyscript"
    # The compiler looks for packages only above the sources.
    rm -rf "$copy"
    cp -r "$dir" "$copy"
    (cd "$tools/npm" && node_modules/.bin/asc ".source/conformance.ts" --config node_modules/@assemblyscript/wasi-shim/asconfig.json \
        -O --debug --outFile "$out/.$name.out")
    keep "$name" "$sum" "$out/.$name.out"
    rm -r "$copy" "$out/.$name.out"
}
