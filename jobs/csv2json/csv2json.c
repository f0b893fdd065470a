/* A job that converts CSV to JSON: it reads a header row and rows on stdin, and writes one JSON object per line to stdout.
 *
 * The CSV format is that of RFC 4180: quoted fields may contain commas, line breaks and doubled quotes; rows end with CRLF or LF. All
 * values are JSON strings, because CSV has no other types. Empty lines and a byte order mark are skipped. Bytes that are not UTF-8 become
 * U+FFFD.
 *
 * Stdin is streamed. Each row is written as soon as it is complete: the job writes everything it can before it waits for more input.
 * Memory is fixed: a field, a row or a header that does not fit is an error, and nothing is allocated. */

#include <errno.h>
#include <stdbool.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "out.h"

enum {
    FIELD_LIMIT = 1 << 20,  /* bytes of one field */
    ROW_LIMIT = 4 << 20,    /* bytes of all fields of one row */
    COLUMN_LIMIT = 4096,    /* fields of one row */
    INPUT_BUFFER = 64 << 10,
};

/* The fields of one row, concatenated. Field i ends at ends[i], where the next one starts. */
struct row {
    char bytes[ROW_LIMIT];
    size_t ends[COLUMN_LIMIT];
    size_t count;
    size_t length;
};

/* The state of the parser before the next byte. */
enum state {
    ROW_START,  /* before the first byte of a row */
    FIELD_START,
    PLAIN,      /* in a field without quotes */
    QUOTED,     /* between quotes */
    QUOTE,      /* after a quote that either ends the field or is the first of two */
    PLAIN_CR,   /* after a CR, which ends the row if LF follows, and belongs to the field otherwise */
    QUOTED_CR,  /* after a closing quote and a CR, where only LF may follow */
};

static struct row header, row;
static bool has_header;
static enum state state = ROW_START;

/* Line numbers start at 1 and count LF. */
static uint64_t line = 1, row_line, quote_line;

/* Writes the complete rows, writes the error as the last line of stderr, and exits with code 1. */
__attribute__((format(printf, 2, 3)))
static _Noreturn void fail(uint64_t at, const char *format, ...) {
    va_list values;
    out_flush();
    fprintf(stderr, "error: line %llu: ", (unsigned long long)at);
    va_start(values, format);
    vfprintf(stderr, format, values);
    va_end(values);
    fputc('\n', stderr);
    exit(1);
}

static size_t field_start(const struct row *of, size_t field) {
    return field == 0 ? 0 : of->ends[field - 1];
}

static void put(char byte) {
    if (row.length - field_start(&row, row.count) == FIELD_LIMIT)
        fail(row_line, "field %zu is longer than %d bytes", row.count + 1, FIELD_LIMIT);
    if (row.length == ROW_LIMIT)
        fail(row_line, "the row is longer than %d bytes", ROW_LIMIT);
    row.bytes[row.length++] = byte;
}

static void end_field(void) {
    if (row.count == COLUMN_LIMIT)
        fail(row_line, "the row has more than %d fields", COLUMN_LIMIT);
    row.ends[row.count++] = row.length;
    state = FIELD_START;
}

static void take_header(void) {
    memcpy(header.bytes, row.bytes, row.length);
    memcpy(header.ends, row.ends, row.count * sizeof *row.ends);
    header.count = row.count;
    header.length = row.length;
    has_header = true;
    for (size_t i = 0; i < header.count; i++) {
        size_t start = field_start(&header, i), length = header.ends[i] - start;
        for (size_t j = 0; j < i; j++) {
            size_t other = field_start(&header, j);
            if (header.ends[j] - other == length && memcmp(header.bytes + other, header.bytes + start, length) == 0)
                fail(row_line, "columns %zu and %zu have the same name", j + 1, i + 1);
        }
    }
}

static void write_row(void) {
    if (row.count != header.count)
        fail(row_line, "fields in this row: %zu, in the header: %zu", row.count, header.count);
    for (size_t i = 0; i < row.count; i++) {
        size_t key = field_start(&header, i), value = field_start(&row, i);
        out_byte(i == 0 ? '{' : ',');
        out_string(header.bytes + key, header.ends[i] - key);
        out_byte(':');
        out_string(row.bytes + value, row.ends[i] - value);
    }
    out_byte('}');
    out_byte('\n');
}

static void end_row(void) {
    end_field();
    if (has_header)
        write_row();
    else
        take_header();
    row.count = row.length = 0;
    state = ROW_START;
}

/* Processes one byte. A state that passes the byte on to another state jumps to `again`. */
static void take(char byte) {
again:
    switch (state) {
    case ROW_START:
        row_line = line;
        if (byte == '\n')
            break;
        state = FIELD_START;
        /* fallthrough */
    case FIELD_START:
        if (byte == '"') {
            quote_line = line;
            state = QUOTED;
            break;
        }
        state = PLAIN;
        /* fallthrough */
    case PLAIN:
        if (byte == ',')
            end_field();
        else if (byte == '\n')
            end_row();
        else if (byte == '\r')
            state = PLAIN_CR;
        else if (byte == '"')
            fail(line, "field %zu has a quote, but does not begin with one", row.count + 1);
        else
            put(byte);
        break;
    case QUOTED:
        if (byte == '"')
            state = QUOTE;
        else
            put(byte);
        break;
    case QUOTE:
        if (byte == '"') {
            put(byte);
            state = QUOTED;
        } else if (byte == ',') {
            end_field();
        } else if (byte == '\n') {
            end_row();
        } else if (byte == '\r') {
            state = QUOTED_CR;
        } else {
            fail(line, "field %zu goes on after its closing quote", row.count + 1);
        }
        break;
    case PLAIN_CR:
        if (byte == '\n' && row.count == 0 && row.length == 0) {
            state = ROW_START; /* an empty line */
        } else if (byte == '\n') {
            end_row();
        } else {
            put('\r');
            state = PLAIN;
            goto again;
        }
        break;
    case QUOTED_CR:
        if (byte != '\n')
            fail(line, "field %zu goes on after its closing quote", row.count + 1);
        end_row();
        break;
    }
    if (byte == '\n')
        line++;
}

/* Processes the end of the input. The last row may have no line break. */
static void end(void) {
    switch (state) {
    case ROW_START:
        return;
    case QUOTED:
        fail(quote_line, "the quote that opens here is never closed");
    case PLAIN_CR:
        put('\r');
        /* fallthrough */
    case FIELD_START:
    case PLAIN:
    case QUOTE:
        end_row();
        return;
    case QUOTED_CR:
        fail(line, "field %zu goes on after its closing quote", row.count + 1);
    }
}

int main(int argc, char **argv) {
    static char input[INPUT_BUFFER];
    static const char mark[] = "\xEF\xBB\xBF";
    size_t marked = 0; /* how many bytes of a byte order mark the input starts with; 3 once known */

    if (argc > 1) {
        fprintf(stderr, "error: unknown argument \"%s\"\n", argv[1]);
        return 2;
    }
    for (;;) {
        out_flush();
        ssize_t length = read(STDIN_FILENO, input, sizeof input);
        if (length < 0 && errno == EINTR)
            continue;
        if (length < 0)
            fail(line, "stdin: %s", strerror(errno));
        if (length == 0)
            break;
        for (ssize_t i = 0; i < length; i++) {
            if (marked < 3 && input[i] == mark[marked]) {
                marked++;
                continue;
            }
            for (size_t j = 0; marked < 3 && j < marked; j++)
                take(mark[j]);
            marked = 3;
            take(input[i]);
        }
    }
    for (size_t i = 0; marked < 3 && i < marked; i++)
        take(mark[i]);
    end();
    out_flush();
    return 0;
}
