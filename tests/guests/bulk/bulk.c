// Moves bytes with single calls of the C library, whose buffers have the size that the second argument gives.
//
//   bulk read PATH SIZE     reads a file, or stdin if it is -, until its end, and prints the number of bytes and of calls
//   bulk pread PATH SIZE    the same with pread
//   bulk write PATH SIZE    writes a file, or stdout if it is -, and prints both numbers on stderr
//   bulk pwrite PATH SIZE   the same with pwrite
//   bulk random - SIZE      prints the number of random bytes
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int fail(const char *what) {
    printf("error: %s: %s\n", what, strerror(errno));
    return 1;
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    const char *command = argv[1], *path = argv[2];
    size_t size = strtoul(argv[3], NULL, 10), total = 0;
    int calls = 0, writes = strstr(command, "write") != NULL, positioned = command[0] == 'p';
    char *buffer = malloc(size);
    if (!buffer) return fail("malloc");
    memset(buffer, 'x', size);
    if (strcmp(command, "random") == 0) {
        // getentropy itself has a limit of 256 bytes.
        extern unsigned short random_get(char *, size_t)
            __attribute__((import_module("wasi_snapshot_preview1"), import_name("random_get")));
        errno = random_get(buffer, size);
        if (errno) return fail("random_get");
        printf("%zu 1\n", size);
        return 0;
    }
    int fd = strcmp(path, "-") == 0 ? writes : open(path, writes ? O_WRONLY | O_CREAT | O_TRUNC : O_RDONLY, 0644);
    if (fd < 0) return fail(path);
    for (;;) {
        ssize_t moved;
        if (writes) {
            if (total == size) break;
            moved = positioned ? pwrite(fd, buffer + total, size - total, (off_t)total)
                               : write(fd, buffer + total, size - total);
        } else {
            moved = positioned ? pread(fd, buffer, size, (off_t)total) : read(fd, buffer, size);
        }
        if (moved < 0) return fail(command);
        if (moved == 0) break;
        total += (size_t)moved;
        calls++;
    }
    fprintf(writes ? stderr : stdout, "%zu %d\n", total, calls);
    return 0;
}
