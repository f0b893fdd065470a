// A library for LD_PRELOAD that makes the disk fail, in the files below one directory only.
//
// Every write, truncation, sync and removal is a point, counted from 1.
//   FAULT_DIR     the directory
//   FAULT_AT      the point at which the fault happens
//   FAULT_UNTIL   the last point of the fault; FAULT_AT without it
//   FAULT_WHILE   a file: the fault happens while it exists, instead of at a point
//   FAULT_KIND    kill: half of the write happens, then the process is killed; a write within a sector happens not at all, because
//                 neither kernels nor disks tear those
//                 eio: the call fails, and a write leaves its first half
//                 enospc: the same, for writes only
//   FAULT_SHADOW  a directory that gets what a disk would have after a power cut: what was written and then synced
//   FAULT_TORN    with FAULT_SHADOW, the seed by which some blocks of what was written but not synced are on the disk as well
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES 256
#define SECTOR 512

enum kind { NONE, KILL, FAIL_EIO, FAIL_ENOSPC };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char directory[4096], shadow[4096], trigger[4096];
static long at, until, points;
static enum kind kind;
static int is_set_up;
static unsigned torn;

// What was written to a file since its last sync.
static struct { dev_t device; ino_t inode; off_t from, to; char name[8192], path[4096]; } dirty[FILES];

static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static int (*real_ftruncate)(int, off_t);
static int (*real_fsync)(int), (*real_fdatasync)(int);
static int (*real_unlink)(const char *);

__attribute__((constructor)) static void set_up(void) {
    real_write = dlsym(RTLD_NEXT, "write");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_unlink = dlsym(RTLD_NEXT, "unlink");
    const char *value = getenv("FAULT_DIR");
    if (!value || !realpath(value, directory)) return;
    if ((value = getenv("FAULT_SHADOW"))) snprintf(shadow, sizeof shadow, "%s", value);
    if ((value = getenv("FAULT_WHILE"))) snprintf(trigger, sizeof trigger, "%s", value);
    if ((value = getenv("FAULT_TORN"))) torn = (unsigned)atol(value);
    if ((value = getenv("FAULT_AT"))) at = until = atol(value);
    if ((value = getenv("FAULT_UNTIL"))) until = atol(value);
    if ((value = getenv("FAULT_KIND")))
        kind = !strcmp(value, "kill") ? KILL : !strcmp(value, "eio") ? FAIL_EIO : FAIL_ENOSPC;
    is_set_up = 1;
}

// Writes the name of the copy of a file to `name`. Returns whether the file is below the directory.
static int name_of(const char *path, char *name, size_t size) {
    size_t length = strlen(directory);
    if (strncmp(path, directory, length) || path[length] != '/') return 0;
    snprintf(name, size, "%s/%s", shadow, path + length + 1);
    for (char *at = name + strlen(shadow) + 1; *at; at++)
        if (*at == '/') *at = '%';
    return 1;
}

// The same for an open file. Shared memory is not on the disk.
static int is_counted(int fd, char *name, size_t size) {
    char link[64], path[4096];
    if (!is_set_up) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return !strstr(path, "-shm") && name_of(path, name, size);
}

// Counts a point. Returns the error that it has, or 0.
static int count(int *is_killed, int is_write) {
    points++;
    if (trigger[0] ? access(trigger, F_OK) : !at || points < at || points > until) return 0;
    if (kind == KILL) *is_killed = 1;
    return kind == FAIL_EIO ? EIO : kind == FAIL_ENOSPC && is_write ? ENOSPC : 0;
}

static void die(void) {
    char block[4096];
    for (int slot = 0; torn && shadow[0] && slot < FILES; slot++) {
        if (dirty[slot].from >= dirty[slot].to) continue;
        int from = open(dirty[slot].path, O_RDONLY | O_CLOEXEC);
        int to = open(dirty[slot].name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        for (off_t place = dirty[slot].from; from >= 0 && to >= 0 && place < dirty[slot].to; place += sizeof block) {
            torn = torn * 1664525 + 1013904223;
            ssize_t length = torn >> 31 ? pread(from, block, sizeof block, place) : 0;
            if (length > 0) real_pwrite(to, block, length, place);
        }
    }
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

static int slot_of(int fd) {
    struct stat status;
    if (fstat(fd, &status)) return -1;
    int empty = -1;
    for (int slot = 0; slot < FILES; slot++) {
        if (dirty[slot].inode == status.st_ino && dirty[slot].device == status.st_dev) return slot;
        if (!dirty[slot].inode && empty < 0) empty = slot;
    }
    if (empty < 0) die();
    dirty[empty].device = status.st_dev;
    dirty[empty].inode = status.st_ino;
    dirty[empty].from = dirty[empty].to = 0;
    return empty;
}

static void note_write(int fd, const char *name, off_t from, off_t to) {
    char link[64];
    int slot = slot_of(fd);
    if (slot < 0 || from >= to) return;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, dirty[slot].path, sizeof dirty[slot].path - 1);
    dirty[slot].path[length < 0 ? 0 : length] = 0;
    snprintf(dirty[slot].name, sizeof dirty[slot].name, "%s", name);
    int is_clean = dirty[slot].from == dirty[slot].to;
    if (is_clean || from < dirty[slot].from) dirty[slot].from = from;
    if (is_clean || to > dirty[slot].to) dirty[slot].to = to;
}

// Copies what was written to a file since its last sync. The file may be open for writing only.
static void copy_synced(int fd, const char *name) {
    char link[64], buffer[65536];
    struct stat status;
    int slot = slot_of(fd);
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int from = open(link, O_RDONLY | O_CLOEXEC), to = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (slot < 0 || from < 0 || to < 0 || fstat(from, &status)) die();
    for (off_t place = dirty[slot].from; place < dirty[slot].to;) {
        size_t size = dirty[slot].to - place > (off_t)sizeof buffer ? sizeof buffer : (size_t)(dirty[slot].to - place);
        ssize_t length = pread(from, buffer, size, place);
        if (length <= 0) break;
        real_pwrite(to, buffer, length, place);
        place += length;
    }
    real_ftruncate(to, status.st_size);
    dirty[slot].from = dirty[slot].to = 0;
    close(from);
    close(to);
}

static ssize_t write_at(int fd, const void *bytes, size_t size, off_t place, int has_place) {
    char name[8192];
    int is_killed = 0, error = 0;
    pthread_mutex_lock(&lock);
    int is_ours = is_counted(fd, name, sizeof name);
    if (is_ours) error = count(&is_killed, 1);
    if (is_ours && !has_place) place = lseek(fd, 0, SEEK_CUR);
    size_t length = is_killed || error ? (size <= SECTOR ? 0 : size / 2) : size;
    ssize_t written = length || !(is_killed || error)
        ? (has_place ? real_pwrite(fd, bytes, length, place) : real_write(fd, bytes, length)) : 0;
    if (is_killed) die();
    if (is_ours && shadow[0] && written > 0) note_write(fd, name, place, place + written);
    pthread_mutex_unlock(&lock);
    if (error) { errno = error; return -1; }
    return written;
}

ssize_t write(int fd, const void *bytes, size_t size) {
    // Not all of the process goes through here before the constructor has run.
    if (!real_write) set_up();
    if (!is_set_up) return real_write(fd, bytes, size);
    return write_at(fd, bytes, size, 0, 0);
}
ssize_t pwrite(int fd, const void *bytes, size_t size, off_t place) { return write_at(fd, bytes, size, place, 1); }
ssize_t pwrite64(int fd, const void *bytes, size_t size, off_t place) { return write_at(fd, bytes, size, place, 1); }

static int truncate_to(int fd, off_t size) {
    char name[8192];
    int is_killed = 0, error = 0;
    pthread_mutex_lock(&lock);
    if (is_counted(fd, name, sizeof name)) error = count(&is_killed, 0);
    if (is_killed) die();
    int result = error ? -1 : real_ftruncate(fd, size);
    if (error) errno = error;
    pthread_mutex_unlock(&lock);
    return result;
}
int ftruncate(int fd, off_t size) { return truncate_to(fd, size); }
int ftruncate64(int fd, off_t size) { return truncate_to(fd, size); }

static int sync_file(int fd, int (*real)(int)) {
    char name[8192];
    struct stat status;
    int is_killed = 0, error = 0;
    pthread_mutex_lock(&lock);
    int is_ours = is_counted(fd, name, sizeof name);
    if (is_ours) error = count(&is_killed, 0);
    if (is_killed) die();
    // What is synced is copied before the caller learns of it. The real sync would only cost time: the test ends processes, not machines.
    int is_copied = is_ours && shadow[0];
    if (is_copied && !error && !fstat(fd, &status) && S_ISREG(status.st_mode)) copy_synced(fd, name);
    int result = error ? -1 : is_copied ? 0 : real(fd);
    if (error) errno = error;
    pthread_mutex_unlock(&lock);
    return result;
}
int fsync(int fd) { return sync_file(fd, real_fsync); }
int fdatasync(int fd) { return sync_file(fd, real_fdatasync); }

int unlink(const char *path) {
    char name[8192];
    int is_killed = 0, error = 0;
    pthread_mutex_lock(&lock);
    int is_ours = is_set_up && name_of(path, name, sizeof name);
    if (is_ours) error = count(&is_killed, 0);
    if (is_killed) die();
    int result = error ? -1 : real_unlink(path);
    if (is_ours && !error && shadow[0]) real_unlink(name);
    if (error) errno = error;
    pthread_mutex_unlock(&lock);
    return result;
}
