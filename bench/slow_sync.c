/* A slow disk: loaded before the C library, every sync takes SLOW_SYNC_MS longer. While the file
   that FAIL_SYNC names is there, syncs fail as a broken disk's do. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static int slow(const char *name, int file)
{
    const char *delay = getenv("SLOW_SYNC_MS"), *fail = getenv("FAIL_SYNC");
    int (*sync)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    if (delay)
        usleep(atoi(delay) * 1000);
    if (fail && access(fail, F_OK) == 0) {
        errno = EIO;
        return -1;
    }
    return sync(file);
}

int fsync(int file) { return slow("fsync", file); }
int fdatasync(int file) { return slow("fdatasync", file); }
