# C++ with exceptions, and C with setjmp, for WASI preview 1. jobs/build sources this file.
#
# Debian's clang compiles exceptions, but its libc++ for WASI was compiled without, and has no libunwind. Zig's package has the sources of libunwind,
# libc++abi and libc++ of the same LLVM, and of setjmp. What throws or catches in them is compiled here, and linked before Debian's libraries.

debian_cpp=("${debian_c[@]}" libc++-22-dev-wasm32 libc++abi-22-dev-wasm32)

# wasmtime runs the instructions of the finished proposal, which LLVM 22 does not choose by itself.
eh_flags=(-fwasm-exceptions -mllvm -wasm-use-legacy-eh=false)

cpp_guests() {
    cpp_guest conformance-cpp tests/guests/conformance/cpp
}

cpp_guest() {
    local name=$1 dir=$2 sum
    sum=$(digest "${debian_cpp[*]} $pypi_zig" "$dir" jobs/build.d/cpp.sh)
    is_current "$name" "$sum" && return 0
    get_eh
    say "compiling $name with ${eh_cxx[*]}"
    "${eh_cxx[@]}" -std=c++20 -O2 -Wall -Wextra -Wl,--strip-debug "$dir"/*.cpp "$eh"/*.o -o "$out/.$name.out"
    keep "$name" "$sum" "$out/.$name.out"
    rm "$out/.$name.out"
}

# Sets $eh_cxx and $eh_cc to compilers with exceptions, and $eh to a directory with the objects that each program must link.
get_eh() {
    eh=$out/.eh
    eh_cxx=(clang++-22 --target=wasm32-wasi -Wno-deprecated --sysroot=/usr -stdlib=libc++ "${eh_flags[@]}")
    eh_cc=(clang-22 --target=wasm32-wasi -Wno-deprecated --sysroot=/usr "${eh_flags[@]}" -mllvm -wasm-enable-sjlj "-I$eh/include")
    local sum
    sum=$(digest "${debian_cpp[*]} $pypi_zig" jobs/build.d/cpp.sh)
    [[ -f $eh/.stamp && $(<"$eh/.stamp") == "$sum" ]] && return 0
    installed "${debian_cpp[@]}" >/dev/null || install "${debian_cpp[@]}" ||
        die "no C++ library for WASI, and none could be installed (see $log). Install these packages: ${debian_cpp[*]}"
    pypi zig "$pypi_zig"
    say "compiling the runtime of C++ exceptions and setjmp"
    rm -rf "$eh"
    mkdir -p "$eh/include/bits"
    eh_tags
    eh_unwind "$site/ziglang/lib/libunwind"
    eh_setjmp "$site/ziglang/lib/libc/wasi/libc-top-half/musl"
    eh_library "$site/ziglang/lib/libcxxabi/src" "$site/ziglang/lib" \
        cxa_{aux_runtime,default_handlers,exception,exception_storage,guard,handlers,personality,vector,virtual} \
        abort_message fallback_malloc private_typeinfo stdlib_{exception,new_delete,stdexcept,typeinfo} cxa_demangle
    eh_library "$site/ziglang/lib/libcxx/src" "$site/ziglang/lib" \
        algorithm any bind charconv error_category exception expected functional hash ios ios.instantiations iostream locale memory \
        memory_resource new new_handler new_helpers optional ostream random regex stdexcept string strstream system_error typeinfo valarray \
        variant vector verbose_abort
    echo "$sum" >"$eh/.stamp"
}

# The tags by which exceptions and jumps are told apart. LLVM 22 leaves their definition to the runtime.
eh_tags() {
    "${eh_cc[@]}" -x assembler -c - -o "$eh/tags.o" <<'ASSEMBLER'
	.tagtype __cpp_exception i32
	.globl __cpp_exception
__cpp_exception:

	.tagtype __c_longjmp i32
	.globl __c_longjmp
__c_longjmp:
ASSEMBLER
}

eh_unwind() {
    "${eh_cc[@]}" -std=c23 -O2 -DNDEBUG -D_LIBUNWIND_HAS_NO_THREADS -D_LIBUNWIND_HIDE_SYMBOLS "-I$1/include" "-I$1/src" \
        -c "$1/src/Unwind-wasm.c" -o "$eh/unwind.o"
}

eh_setjmp() {
    cp "$1/include/setjmp.h" "$eh/include/"
    cp "$1/arch/wasm32/bits/setjmp.h" "$eh/include/bits/"
    "${eh_cc[@]}" -O2 -c "$1/src/setjmp/wasm32/rt.c" -o "$eh/setjmp.o"
}

# eh_library SOURCES LIB NAME...: compiles these files of libc++abi or libc++.
eh_library() {
    local sources=$1 lib=$2 name
    shift 2
    local flags=(-std=c++23 -O2 -w -nostdinc++ -isystem /usr/lib/llvm-22/include/wasm32-wasi/c++/v1
        "-I$lib/libcxxabi/include" "-I$lib/libcxxabi/src" "-I$lib/libcxx/src" "-I$lib/libcxx/libc" "-I$lib/libunwind/include"
        -D_LIBCPP_BUILDING_LIBRARY -D_LIBCXXABI_BUILDING_LIBRARY -DLIBCXX_BUILDING_LIBCXXABI -D_LIBCXXABI_HAS_NO_THREADS)
    for name; do
        printf '%s\0' "$name"
    done | xargs -0 -P "$(nproc)" -I{} "${eh_cxx[@]}" "${flags[@]}" -c "$sources/{}.cpp" -o "$eh/$(basename "${sources%/src}").{}.o" ||
        die "the runtime of C++ exceptions does not compile"
}
