# Python as a component, with componentize-py of PyPI. jobs/build sources this file.

pypi_componentize_py=componentize-py==0.25.1

python_guests() {
    local name=conformance-python dir=tests/guests/conformance/python sum
    sum=$(digest "$pypi_componentize_py" "$dir" tests/guests/conformance/job.wit jobs/build.d/python.sh)
    is_current "$name" "$sum" && return 0
    pypi componentize-py "$pypi_componentize_py"
    wit_world
    say "compiling $name with $pypi_componentize_py"
    PYTHONPATH=$site PYTHONDONTWRITEBYTECODE=1 python3 -c 'import componentize_py; componentize_py.script()' \
        --wit-path "$wit" --world job componentize --python-path "$dir" --output "$out/.$name.out" job &>"$log" ||
        die "componentize-py failed:" "$(<"$log")"
    keep "$name" "$sum" "$out/.$name.out"
    rm "$out/.$name.out"
}
