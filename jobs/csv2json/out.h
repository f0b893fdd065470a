/* Stdout: a buffer, and JSON strings. */

#ifndef OUT_H
#define OUT_H

#include <stddef.h>

/* Writes one byte as it is. */
void out_byte(char byte);

/* Writes bytes as a JSON string. Each ill-formed sequence of UTF-8 becomes U+FFFD. */
void out_string(const char *bytes, size_t length);

/* Hands all that was written to the host. Ends the job with exit code 1 if the host takes no more. */
void out_flush(void);

#endif
