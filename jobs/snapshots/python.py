#!/usr/bin/env python3
"""Gives the prebuilt CPython a function that initialises it, so that Capstan can take a snapshot of it.

    jobs/snapshots/python.py python.wasm python-snapshot.wasm

The input is `python.wasm` of the PyPI package that `jobs/build` pins: CPython 3.12 for WASI preview 1, with the standard library inside. Its
functions have no names, so this works for that one file only, which is checked by its digest.

What changes:

- `wizer-initialize` is new. It runs `_start`, which is `python` with the arguments of the initialisation, and keeps the interpreter.
- Before `_start` runs the script, it calls a function that prepares the interpreter: in the initialisation with PREPARE below, in each later run
  with RESUME.
- `Py_FinalizeEx` does nothing in the initialisation. In later runs it waits for threads, calls the functions registered with `atexit`, flushes
  stdout and stderr, and returns: freeing each object of a process that ends takes longer than a short script.
- `pymain_free`, which frees the runtime, does nothing.
- The sections with debugging information are left out.

CPython supports what happens in later runs: `Py_BytesMain` in an initialised interpreter reads its arguments again and updates `sys`. Two other
states are set back: the flag of the C library that `_start` was called, and the table of file descriptors of wasi-vfs, which serves the files of
the standard library and would not see the mounts of a run.
"""

import hashlib
import sys

SHA256 = "e5dc5a398b07b54ea8fdb503bf68fb583d533f10ec3f930963e02b9505f7a763"

IMPORTED_FUNCTIONS = 43
START = 43
PY_FINALIZE_EX = 3970
PYMAIN_FREE = 4406
FLUSH_STD_FILES = 3974
PY_RUN_SIMPLE_STRING_FLAGS = 4056
MALLOC = 11136
# Where `_start` has initialised the interpreter and calls `PyInterpreterState_Get` to run the script, in bytes from its beginning.
INITIALISED, PY_INTERPRETER_STATE_GET = 0x7C83 - 0x658A, 639
# The variable by which the C library ensures that `_start` is called once.
STARTED = 4728656
# The variables of wasi-vfs: what it has opened, and the files that it serves.
VFS, VFS_SIZE = 4744400, 164
# Among them the address of the list of its directories, which it frees when it has read it. The list is short.
VFS_LIST, VFS_LIST_SIZE = 4744556, 64
# A block of memory of its own has a copy of these variables, and then the texts below.
BLOCK_SIZE, RESUME_AT, FREEZE_AT, PREPARE_AT = 8192, 1024, 2048, 3072

# Runs first in the initialisation, so that its `atexit` function runs last: it closes files that the script has left open.
PREPARE = """
def prepare():
    import _imp, atexit, gc, io, os, posix, sys
    from importlib.machinery import BuiltinImporter, ModuleSpec
    path = list(sys.path)
    def resume():
        fresh = _imp.create_builtin(ModuleSpec('posix', BuiltinImporter))
        _imp.exec_builtin(fresh)
        for variables in posix.environ, os.environ._data:
            variables.clear()
            variables.update(fresh.environ)
        more = fresh.environ.get(b'PYTHONPATH')
        sys.path[:] = (os.fsdecode(more).split(':') if more else []) + path
        loaded = sys.modules.get
        if random := loaded('random'):
            random.seed()
        if tempfile := loaded('tempfile'):
            tempfile._name_sequence = None
    def close():
        vars(sys.modules['__main__']).clear()
        gc.collect()
        standard = {id(stream) for std in (sys.stdin, sys.stdout, sys.stderr, sys.__stdin__, sys.__stdout__, sys.__stderr__)
            if std for stream in (std, getattr(std, 'buffer', None), getattr(getattr(std, 'buffer', None), 'raw', None))}
        for left in gc.get_objects():
            if issubclass(type(left), io.IOBase) and id(left) not in standard:
                try:
                    left.close()
                except Exception:
                    pass
    def freeze():
        sys.stdout.flush()
        gc.collect()
        gc.freeze()
    atexit.register(close)
    sys._snapshot = (resume, freeze)
prepare()
del prepare
"""
# Runs first in each later run.
RESUME = "__import__('sys')._snapshot[0]()"
# Runs last in the initialisation.
FREEZE = "__import__('sys')._snapshot[1]()"

TYPE, IMPORT, FUNCTION, TABLE, MEMORY, GLOBAL, EXPORT, CODE, CUSTOM = 1, 2, 3, 4, 5, 6, 7, 10, 0

END, IF, RETURN, CALL, UNREACHABLE, I32_EQZ = b"\x0b", b"\x04\x40", b"\x0f", b"\x10", b"\x00", b"\x45"
GLOBAL_GET, GLOBAL_SET, I32_CONST, I64_CONST, I32_ADD = b"\x23", b"\x24", b"\x41", b"\x42", b"\x6a"
SELECT, I32_LOAD, I32_STORE, I64_STORE, MEMORY_COPY = b"\x1b", b"\x28\x02", b"\x36\x02", b"\x37\x00", b"\xfc\x0a\0\0"


def unsigned(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def to_unsigned(value):
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes(encoded) + bytes([value])


def to_signed(value):
    encoded = bytearray()
    while not -64 <= value < 64:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes(encoded) + bytes([value & 127])


def const(value):
    return I32_CONST + to_signed(value)


def sections(wasm):
    at = 8
    while at < len(wasm):
        identifier = wasm[at]
        size, start = unsigned(wasm, at + 1)
        at = start + size
        yield identifier, wasm[start:at]


def appended(section, item):
    """Returns a section with one more item."""
    count, start = unsigned(section, 0)
    return to_unsigned(count + 1) + section[start:] + item


def items(code):
    """Returns the bodies of the functions in a code section."""
    count, at = unsigned(code, 0)
    bodies = []
    for _ in range(count):
        size, start = unsigned(code, at)
        at = start + size
        bodies.append(code[start:at])
    return bodies


def split_locals(body):
    """Returns the declarations of locals at the start of a function, and its instructions."""
    groups, at = unsigned(body, 0)
    for _ in range(groups):
        _, at = unsigned(body, at)
        at += 1
    return body[:at], body[at:]


def empty_type(types):
    """Returns the index of the type of functions without parameters and results."""
    count, at = unsigned(types, 0)
    for index in range(count):
        assert types[at] == 0x60
        parameters, at = unsigned(types, at + 1)
        results, at = unsigned(types, at + parameters)
        at += results
        if parameters == results == 0:
            return index
    sys.exit("no function type without parameters and results")


def run_text(texts, offset):
    """Returns the instructions that run Python text in the interpreter. `offset` are those for its offset in the block."""
    run = GLOBAL_GET + texts + offset + I32_ADD + const(0) + CALL + to_unsigned(PY_RUN_SIMPLE_STRING_FLAGS)
    return run + IF + UNREACHABLE + END


def new(size):
    """Returns the instructions that allocate memory."""
    return const(size) + CALL + to_unsigned(MALLOC)


def write_text(texts, offset, text):
    """Returns the instructions that write text at an offset in the block."""
    data = text.encode() + b"\0"
    data += bytes(-len(data) % 8)
    assert offset + len(data) <= BLOCK_SIZE
    words = (int.from_bytes(data[at : at + 8], "little", signed=True) for at in range(0, len(data), 8))
    stores = (
        GLOBAL_GET + texts + I64_CONST + to_signed(word) + I64_STORE + to_unsigned(offset + 8 * index)
        for index, word in enumerate(words)
    )
    return b"".join(stores)


def patch(wasm):
    found = dict(sections(wasm))
    global_count, _ = unsigned(found[GLOBAL], 0)
    function_count, _ = unsigned(found[FUNCTION], 0)
    is_initialised, texts = to_unsigned(global_count), to_unsigned(global_count + 1)
    hook = IMPORTED_FUNCTIONS + function_count
    init = hook + 1
    bodies = items(found[CODE])

    start = bodies[START - IMPORTED_FUNCTIONS]
    following = CALL + to_unsigned(PY_INTERPRETER_STATE_GET)
    assert start[INITIALISED:].startswith(following)
    bodies[START - IMPORTED_FUNCTIONS] = start[:INITIALISED] + CALL + to_unsigned(hook) + start[INITIALISED:]

    declared, instructions = split_locals(bodies[PY_FINALIZE_EX - IMPORTED_FUNCTIONS])
    flush = CALL + to_unsigned(FLUSH_STD_FILES)
    before, after = instructions.split(flush, 1)
    unless_initialised = GLOBAL_GET + is_initialised + I32_EQZ + IF + const(0) + RETURN + END
    bodies[PY_FINALIZE_EX - IMPORTED_FUNCTIONS] = declared + unless_initialised + before + flush + RETURN + after
    bodies[PYMAIN_FREE - IMPORTED_FUNCTIONS] = b"\0" + END

    choose = const(RESUME_AT) + const(PREPARE_AT) + GLOBAL_GET + is_initialised + SELECT
    bodies.append(b"\0" + run_text(texts, choose) + END)
    saved_list = to_unsigned(VFS_LIST - VFS)
    bodies.append(
        b"\0"
        + (new(BLOCK_SIZE) + GLOBAL_SET + texts)
        + write_text(texts, RESUME_AT, RESUME)
        + write_text(texts, FREEZE_AT, FREEZE)
        + write_text(texts, PREPARE_AT, PREPARE)
        + (GLOBAL_GET + texts + const(VFS) + const(VFS_SIZE) + MEMORY_COPY)
        + (GLOBAL_GET + texts + new(VFS_LIST_SIZE) + I32_STORE + saved_list)
        + (GLOBAL_GET + texts + I32_LOAD + saved_list)
        + (const(VFS_LIST) + I32_LOAD + b"\0" + const(VFS_LIST_SIZE) + MEMORY_COPY)
        + (CALL + to_unsigned(START))
        + run_text(texts, const(FREEZE_AT))
        + (const(VFS) + GLOBAL_GET + texts + const(VFS_SIZE) + MEMORY_COPY)
        + (const(STARTED) + const(0) + I32_STORE + b"\0")
        + (const(1) + GLOBAL_SET + is_initialised + END)
    )

    none = to_unsigned(empty_type(found[TYPE]))
    variable = b"\x7f\x01" + const(0) + END
    name = b"wizer-initialize"
    changed = {
        FUNCTION: appended(appended(found[FUNCTION], none), none),
        GLOBAL: appended(appended(found[GLOBAL], variable), variable),
        EXPORT: appended(found[EXPORT], to_unsigned(len(name)) + name + b"\0" + to_unsigned(init)),
        CODE: to_unsigned(len(bodies)) + b"".join(to_unsigned(len(body)) + body for body in bodies),
    }
    result = bytearray(wasm[:8])
    for identifier, section in sections(wasm):
        if identifier == CUSTOM:
            continue
        section = changed.get(identifier, section)
        result += bytes([identifier]) + to_unsigned(len(section)) + section
    return result


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: python.py python.wasm python-snapshot.wasm")
    with open(sys.argv[1], "rb") as file:
        wasm = file.read()
    if hashlib.sha256(wasm).hexdigest() != SHA256:
        sys.exit(f"{sys.argv[1]} is not the file that this script is for: its SHA-256 is not {SHA256}")
    with open(sys.argv[2], "wb") as file:
        file.write(patch(wasm))


main()
