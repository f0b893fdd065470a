// The conformance job in C. ../README.md says what each command does.

#define _DEFAULT_SOURCE

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static unsigned char buffer[64 << 10];

// Copies `from` to `to`, and returns the number of bytes, or -1 after an error.
static long long copy(FILE *from, FILE *to) {
    long long count = 0;
    size_t length;
    while ((length = fread(buffer, 1, sizeof buffer, from)) > 0) {
        if (fwrite(buffer, 1, length, to) != length)
            return -1;
        count += (long long)length;
    }
    return ferror(from) || fflush(to) ? -1 : count;
}

static int copy_file(const char *from, const char *to) {
    FILE *input = fopen(from, "rb"), *output = fopen(to, "wb");
    if (!input || !output || copy(input, output) < 0 || fclose(output)) {
        perror("copy");
        return 1;
    }
    return 0;
}

static int print_random(void) {
    if (getentropy(buffer, 16))
        return 1;
    for (int i = 0; i < 16; i++)
        printf("%02x", buffer[i]);
    putchar('\n');
    return 0;
}

static long long nanoseconds(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static int print_clock(void) {
    long long start = nanoseconds(), now;
    do
        now = nanoseconds();
    while (now == start);
    printf("%lld %lld\n", (long long)time(NULL), now - start);
    return 0;
}

__attribute__((noinline)) static void fail_on_purpose(void) {
    __builtin_trap();
}

int main(int argc, char **argv) {
    const char *command = argc > 1 ? argv[1] : "";
    if (!strcmp(command, "args")) {
        for (int i = 2; i < argc; i++)
            puts(argv[i]);
        return 0;
    }
    if (!strcmp(command, "env") && argc == 3) {
        const char *value = getenv(argv[2]);
        return value ? puts(value) < 0 : 3;
    }
    if (!strcmp(command, "cat"))
        return copy(stdin, stdout) < 0;
    if (!strcmp(command, "stderr") && argc == 3)
        return fprintf(stderr, "%s\n", argv[2]) < 0;
    if (!strcmp(command, "copy") && argc == 4)
        return copy_file(argv[2], argv[3]);
    if (!strcmp(command, "exit") && argc == 3)
        return atoi(argv[2]);
    if (!strcmp(command, "random"))
        return print_random();
    if (!strcmp(command, "clock"))
        return print_clock();
    if (!strcmp(command, "stream"))
        return fprintf(stderr, "%lld\n", copy(stdin, stdout)) < 0;
    if (!strcmp(command, "trap"))
        fail_on_purpose();
    return 2;
}
