/* Buffered output of bytes and JSON strings to stdout. */

#ifndef OUT_H
#define OUT_H

#include <stddef.h>

/* Writes one byte. */
void out_byte(char byte);

/* Writes bytes as a JSON string. Each ill-formed sequence of UTF-8 becomes U+FFFD. */
void out_string(const char *bytes, size_t length);

/* Flushes the buffer to the host. Exits with code 1 if that fails. */
void out_flush(void);

#endif
