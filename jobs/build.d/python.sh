# Python as a component, with componentize-py of PyPI. jobs/build sources this file.

pypi_componentize_py=componentize-py==0.25.1

python_guests() {
    componentize_py conformance-python tests/guests/conformance/python job job job_world tests/guests/conformance/job.wit
}

# componentize_py NAME DIRECTORY WORLD MODULE FUNCTION FILE: compiles MODULE of DIRECTORY. FUNCTION sets $wit to a directory with the world in FILE.
componentize_py() {
    local name=$1 dir=$2 world=$3 module=$4 sum
    sum=$(digest "$pypi_componentize_py" "$dir" "$6" jobs/build.d/python.sh)
    is_current "$name" "$sum" && return 0
    pypi componentize-py "$pypi_componentize_py"
    "$5"
    say "compiling $name with $pypi_componentize_py"
    PYTHONPATH=$site PYTHONDONTWRITEBYTECODE=1 python3 -c 'import componentize_py; componentize_py.script()' \
        --wit-path "$wit" --world "$world" componentize --python-path "$dir" --output "$out/.$name.out" "$module" &>"$log" ||
        die "componentize-py failed:" "$(<"$log")"
    keep "$name" "$sum" "$out/.$name.out"
    rm "$out/.$name.out"
}
