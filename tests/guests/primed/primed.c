// Fills a map of 20,000 entries when it is initialised, or else when it starts. Prints how many entries it finds, its first argument, the
// variable NUMBER and a random number, as JSON.

#define _GNU_SOURCE // for getentropy
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ENTRIES = 20000, SLOTS = 1 << 16 };

typedef struct {
    char *key;
    int value;
} Slot;

static Slot *slots;

static uint32_t hash(const char *text) {
    uint32_t hash = 2166136261;
    for (; *text; text++) hash = (hash ^ (unsigned char)*text) * 16777619;
    return hash;
}

static Slot *find(const char *key) {
    uint32_t at = hash(key) % SLOTS;
    while (slots[at].key && strcmp(slots[at].key, key) != 0) at = (at + 1) % SLOTS;
    return &slots[at];
}

__attribute__((export_name("wizer-initialize"))) void initialize(void) {
    slots = calloc(SLOTS, sizeof(Slot));
    if (!slots) abort();
    for (int number = 0; number < ENTRIES; number++) {
        char key[16];
        snprintf(key, sizeof key, "key %d", number);
        *find(key) = (Slot){strdup(key), number};
    }
}

int main(int argc, char **argv) {
    if (!slots) initialize();
    int found = 0;
    for (int at = 0; at < SLOTS; at++) found += slots[at].key != NULL;
    if (find("key 19999")->value != 19999) return 1;
    uint64_t random;
    if (getentropy(&random, sizeof random) != 0) return 2;
    const char *number = getenv("NUMBER");
    printf("{\"entries\":%d,\"argument\":\"%s\",\"variable\":\"%s\",\"random\":\"%016llx\"}\n", found, argc > 1 ? argv[1] : "",
           number ? number : "", (unsigned long long)random);
    return 0;
}
