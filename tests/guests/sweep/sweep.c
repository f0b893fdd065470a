// Removes the files of a directory while it lists them, as `rm -r` does, then the directory. Prints how many files it removed.
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    DIR *directory = opendir(argv[1]);
    if (!directory) {
        printf("error: %s\n", strerror(errno));
        return 1;
    }
    int removed = 0;
    for (struct dirent *entry; (entry = readdir(directory));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        if (unlinkat(dirfd(directory), entry->d_name, 0) == 0) removed++;
    }
    closedir(directory);
    int failed = rmdir(argv[1]);
    printf("%d%s\n", removed, failed ? " and the directory is not empty" : "");
    return failed ? 1 : 0;
}
