// An interpreter of Lua: `lua SCRIPT ARG...`. What WASI does not have fails as Lua's manual says.

#define _DEFAULT_SOURCE

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "lauxlib.h"
#include "lua.h"
#include "lualib.h"

#include "host.h"

unsigned int host_seed(void) {
    unsigned int seed = 0;
    if (getentropy(&seed, sizeof seed))
        abort();
    return seed;
}

int system(const char *command) {
    return command ? -1 : 0;
}

char *tmpnam(char *name) {
    (void)name;
    return NULL;
}

FILE *tmpfile(void) {
    return NULL;
}

// `os.clock`, which the sources leave out on WASI: seconds of the monotonic clock.
static int seconds(lua_State *state) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    lua_pushnumber(state, (lua_Number)now.tv_sec + (lua_Number)now.tv_nsec / 1e9);
    return 1;
}

// Opens the standard library. `math.random` would be seeded with the time in seconds and an address.
static void open_libraries(lua_State *state) {
    luaL_openlibs(state);
    lua_getglobal(state, "os");
    lua_pushcfunction(state, seconds);
    lua_setfield(state, -2, "clock");
    lua_getglobal(state, "math");
    lua_getfield(state, -1, "randomseed");
    lua_pushinteger(state, host_seed());
    lua_pushinteger(state, host_seed());
    lua_call(state, 2, 0);
    lua_pop(state, 2);
}

// Adds a backtrace to the message of an error.
static int explain(lua_State *state) {
    luaL_traceback(state, state, lua_tostring(state, 1), 1);
    return 1;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fputs("usage: lua SCRIPT ARG...\n", stderr);
        return 2;
    }
    lua_State *state = luaL_newstate();
    if (!state)
        return 1;
    open_libraries(state);
    lua_pushcfunction(state, explain);
    int failed = luaL_loadfile(state, argv[1]);
    if (!failed) {
        luaL_checkstack(state, argc, "too many arguments");
        for (int i = 2; i < argc; i++)
            lua_pushstring(state, argv[i]);
        failed = lua_pcall(state, argc - 2, 0, 1);
    }
    if (failed)
        fprintf(stderr, "%s\n", lua_tostring(state, -1));
    lua_close(state);
    return failed ? 1 : 0;
}
