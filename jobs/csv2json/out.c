#include "out.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char buffer[64 << 10];
static size_t used;

void out_flush(void) {
    size_t done = 0;
    while (done < used) {
        ssize_t written = write(STDOUT_FILENO, buffer + done, used - done);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0) {
            fprintf(stderr, "error: stdout: %s\n", strerror(errno));
            exit(1);
        }
        done += (size_t)written;
    }
    used = 0;
}

void out_byte(char byte) {
    if (used == sizeof buffer)
        out_flush();
    buffer[used++] = byte;
}

static void out_bytes(const char *bytes, size_t length) {
    while (length > 0) {
        if (used == sizeof buffer)
            out_flush();
        size_t part = sizeof buffer - used < length ? sizeof buffer - used : length;
        memcpy(buffer + used, bytes, part);
        used += part;
        bytes += part;
        length -= part;
    }
}

/* Returns the length of the character that starts here. If it is ill-formed, sets *is_valid to 0 and returns the number of bytes that one
 * U+FFFD replaces: the longest prefix of a character, or one byte (Unicode 16, section 3.9, "substitution of maximal subparts"). */
static size_t character(const unsigned char *bytes, size_t length, int *is_valid) {
    unsigned char first = bytes[0];
    /* The first continuation byte has narrower bounds after E0, ED, F0 and F4, which excludes overlong forms, surrogates and values above
     * U+10FFFF. */
    unsigned char least = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    unsigned char most = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    size_t whole = first < 0x80 ? 1 : first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
    size_t seen = 1;

    while (seen < whole && seen < length && bytes[seen] >= least && bytes[seen] <= most) {
        seen++;
        least = 0x80;
        most = 0xBF;
    }
    *is_valid = seen == whole;
    return seen;
}

static void out_escape(unsigned char byte) {
    static const char hex[] = "0123456789abcdef";
    char escape[] = "\\u00xx";
    switch (byte) {
    case '"':  out_bytes("\\\"", 2); return;
    case '\\': out_bytes("\\\\", 2); return;
    case '\n': out_bytes("\\n", 2); return;
    case '\r': out_bytes("\\r", 2); return;
    case '\t': out_bytes("\\t", 2); return;
    default:
        escape[4] = hex[byte >> 4];
        escape[5] = hex[byte & 15];
        out_bytes(escape, 6);
    }
}

void out_string(const char *bytes, size_t length) {
    const unsigned char *next = (const unsigned char *)bytes, *end = next + length, *plain = next;

    out_byte('"');
    while (next < end) {
        int is_valid;
        size_t seen = character(next, (size_t)(end - next), &is_valid);
        if (is_valid && *next >= 0x20 && *next != '"' && *next != '\\') {
            next += seen;
            continue;
        }
        out_bytes((const char *)plain, (size_t)(next - plain));
        if (is_valid)
            out_escape(*next);
        else
            out_bytes("\xEF\xBF\xBD", 3);
        next += seen;
        plain = next;
    }
    out_bytes((const char *)plain, (size_t)(end - plain));
    out_byte('"');
}
