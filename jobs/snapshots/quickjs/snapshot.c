// A JavaScript runtime for snapshots: `qjs` of QuickJS-ng in two parts. The initialisation creates the runtime, the context and the modules
// `qjs:std`, `qjs:os` and `qjs:bjson`, and runs the scripts in its arguments. A run takes what a run of its own must have, and then its script.
//
//     qjs [--std] [-m | --module] (-e EXPRESSION | FILE) [ARGUMENTS]
//
// The engine is included and not linked, because the state of its random numbers has no other access.

#define _GNU_SOURCE
#include "quickjs.c"

#include "quickjs-libc.h"

#include <errno.h>
#include <unistd.h>

static JSContext *context;

static JSContext *new_context(JSRuntime *runtime) {
    JSContext *context = JS_NewContext(runtime);
    if (!context) return NULL;
    js_init_module_std(context, "qjs:std");
    js_init_module_os(context, "qjs:os");
    js_init_module_bjson(context, "qjs:bjson");
    return context;
}

static bool create(void) {
    JSRuntime *runtime = JS_NewRuntime();
    if (!runtime) return false;
    js_std_set_worker_new_context_func(new_context);
    js_std_init_handlers(runtime);
    context = new_context(runtime);
    if (!context) return false;
    JS_SetModuleLoaderFunc2(runtime, NULL, js_module_loader, js_module_check_attributes, NULL);
    JS_SetHostPromiseRejectionTracker(runtime, js_std_promise_rejection_tracker, NULL);
    js_std_add_helpers(context, -1, NULL);
    return true;
}

// Replaces what the context has read when it was created: the seed of its random numbers, and the time.
static bool refresh(void) {
    JS_UpdateStackTop(JS_GetRuntime(context));
    if (JS_AddPerformance(context) != 0) return false;
    do {
        if (getentropy(&context->random_state, sizeof context->random_state) != 0) return false;
    } while (context->random_state == 0);
    return true;
}

static bool evaluate(const char *text, size_t length, const char *name, bool is_module) {
    JSValue value;
    if (is_module) {
        value = JS_Eval(context, text, length, name, JS_EVAL_TYPE_MODULE | JS_EVAL_FLAG_COMPILE_ONLY);
        if (!JS_IsException(value) && js_module_set_import_meta(context, value, true, true) < 0) {
            JS_FreeValue(context, value);
            value = JS_EXCEPTION;
        }
        if (!JS_IsException(value)) value = js_std_await(context, JS_EvalFunction(context, value));
    } else {
        value = JS_Eval(context, text, length, name, JS_EVAL_TYPE_GLOBAL);
    }
    bool is_ok = !JS_IsException(value);
    if (!is_ok) js_std_dump_error(context);
    JS_FreeValue(context, value);
    return is_ok;
}

static bool ends_with(const char *text, const char *end) {
    size_t length = strlen(text), end_length = strlen(end);
    return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

static bool evaluate_file(const char *path, bool is_module) {
    size_t length;
    uint8_t *text = js_load_file(context, &length, path);
    if (!text) {
        fprintf(stderr, "qjs: cannot read %s: %s\n", path, strerror(errno));
        return false;
    }
    is_module = is_module || ends_with(path, ".mjs") || JS_DetectModule((const char *)text, length);
    bool is_ok = evaluate((const char *)text, length, path, is_module);
    js_free(context, text);
    return is_ok;
}

static void set_script_args(int count, char **args) {
    JSValue array = JS_NewArray(context), global = JS_GetGlobalObject(context);
    for (int at = 0; at < count; at++) JS_SetPropertyUint32(context, array, at, JS_NewString(context, args[at]));
    JS_SetPropertyStr(context, global, "scriptArgs", array);
    JS_FreeValue(context, global);
}

static const char import_std[] =
    "import * as std from 'qjs:std'; import * as os from 'qjs:os'; import * as bjson from 'qjs:bjson';"
    "Object.assign(globalThis, {std, os, bjson})";

// Runs a command, without the name of the program.
static bool run(int count, char **args) {
    bool is_module = false;
    while (count && args[0][0] == '-') {
        const char *option = args[0];
        count--, args++;
        if (!strcmp(option, "--std")) {
            if (!evaluate(import_std, sizeof import_std - 1, "<std>", true)) return false;
        } else if (!strcmp(option, "-m") || !strcmp(option, "--module")) {
            is_module = true;
        } else if ((!strcmp(option, "-e") || !strcmp(option, "--eval")) && count) {
            set_script_args(count - 1, args + 1);
            return evaluate(args[0], strlen(args[0]), "<cmdline>", is_module) && js_std_loop(context) == 0;
        } else {
            fprintf(stderr, "qjs: unknown option, or one without a value: %s\n", option);
            return false;
        }
    }
    if (!count) {
        fprintf(stderr, "usage: qjs [--std] [-m] (-e EXPRESSION | FILE) [ARGUMENTS]\n");
        return false;
    }
    set_script_args(count, args);
    return evaluate_file(args[0], is_module) && js_std_loop(context) == 0;
}

// Calls `main` with the arguments of the initialisation.
extern int __main_void(void);

static bool is_initialising;

__attribute__((export_name("wizer-initialize"))) void initialize(void) {
    is_initialising = true;
    if (__main_void() != 0) abort();
    is_initialising = false;
}

int main(int argc, char **argv) {
    if (!context && !create()) {
        fprintf(stderr, "qjs: not enough memory\n");
        return 2;
    }
    if (is_initialising && argc < 2) return 0;
    if (!is_initialising && !refresh()) {
        fprintf(stderr, "qjs: no random numbers\n");
        return 2;
    }
    bool is_ok = run(argc - 1, argv + 1);
    fflush(NULL);
    return is_ok ? 0 : 1;
}
