#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *trimmed(char *line) {
    while (isspace((unsigned char)*line)) {
        line++;
    }
    size_t length = strlen(line);
    while (length > 0 && isspace((unsigned char)line[length - 1])) {
        line[--length] = '\0';
    }
    return line;
}

static void print(const char *text, bool shout) {
    for (; *text; text++) {
        putchar(shout ? toupper((unsigned char)*text) : *text);
    }
}

int main(int argc, char **argv) {
    bool shout = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--shout") != 0) {
            fprintf(stderr, "usage: {{name}} [--shout] < NAMES\n");
            return EXIT_FAILURE;
        }
        shout = true;
    }
    const char *greeting = getenv("GREETING");
    char *line = NULL;
    size_t capacity = 0, greeted = 0;
    while (getline(&line, &capacity, stdin) != -1) {
        const char *name = trimmed(line);
        if (*name == '\0') {
            continue;
        }
        print(greeting ? greeting : "Hello", shout);
        print(", ", shout);
        print(name, shout);
        puts("!");
        greeted++;
    }
    free(line);
    if (ferror(stdin) || fflush(stdout) != 0) {
        perror("{{name}}");
        return EXIT_FAILURE;
    }
    if (greeted == 0) {
        fprintf(stderr, "no names on stdin\n");
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
