/* Records what a process writes to a database and its log, for a model of the loss of power.
   Loaded before the C library. The file that POWER_LOG names gets a record for each write, change
   of length, and beginning and end of a sync: kind, file (1 the database, 2 its log), number of
   the sync, offset, length, data. A write is recorded after it was done and a sync when it was
   complete, so nothing is taken for durable that may not be. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define FILES 65536
static unsigned char kinds[FILES];
static int32_t syncs;
static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;

struct record { char kind, file, pad[2]; int32_t sync; int64_t offset, length; };

static void record(char kind, int file, int32_t sync, int64_t offset, int64_t length, const void *data)
{
    static int out = -1;
    struct record head = { kind, file < FILES ? kinds[file] : 0, {0}, sync, offset, length };
    struct iovec parts[2] = { { &head, sizeof head }, { (void *)data, data ? length : 0 } };
    pthread_mutex_lock(&order);
    if (out < 0)
        out = syscall(SYS_openat, AT_FDCWD, getenv("POWER_LOG"),
                      O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    syscall(SYS_writev, out, parts, 2);
    pthread_mutex_unlock(&order);
}

static int watched(int file) { return file >= 0 && file < FILES && kinds[file]; }

static int named(int file, const char *path)
{
    size_t length = strlen(path);
    if (file >= 0 && file < FILES)
        kinds[file] = length > 11 && !strcmp(path + length - 11, ".sqlite-wal") ? 2
                    : length > 7 && !strcmp(path + length - 7, ".sqlite") ? 1 : 0;
    return file;
}

#define OPEN(name)                                                                    \
    int name(const char *path, int flags, ...)                                        \
    {                                                                                 \
        static int (*real)(const char *, int, ...);                                   \
        va_list more;                                                                 \
        va_start(more, flags);                                                        \
        mode_t mode = va_arg(more, mode_t);                                           \
        va_end(more);                                                                 \
        if (!real)                                                                    \
            real = dlsym(RTLD_NEXT, #name);                                           \
        return named(real(path, flags, mode), path);                                  \
    }
OPEN(open)
OPEN(open64)

#define PWRITE(name)                                                                  \
    ssize_t name(int file, const void *data, size_t length, off64_t offset)           \
    {                                                                                 \
        static ssize_t (*real)(int, const void *, size_t, off64_t);                   \
        if (!real)                                                                    \
            real = dlsym(RTLD_NEXT, #name);                                           \
        ssize_t done = real(file, data, length, offset);                              \
        if (done > 0 && watched(file))                                                \
            record('w', file, 0, offset, done, data);                                 \
        return done;                                                                  \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

ssize_t write(int file, const void *data, size_t length)
{
    static ssize_t (*real)(int, const void *, size_t);
    if (!real)
        real = dlsym(RTLD_NEXT, "write");
    off64_t offset = watched(file) ? lseek64(file, 0, SEEK_CUR) : 0;
    ssize_t done = real(file, data, length);
    if (done > 0 && watched(file))
        record('w', file, 0, offset, done, data);
    return done;
}

#define TRUNCATE(name)                                                                \
    int name(int file, off64_t length)                                                \
    {                                                                                 \
        static int (*real)(int, off64_t);                                             \
        if (!real)                                                                    \
            real = dlsym(RTLD_NEXT, #name);                                           \
        int failed = real(file, length);                                              \
        if (!failed && watched(file))                                                 \
            record('t', file, 0, length, 0, NULL);                                    \
        return failed;                                                                \
    }
TRUNCATE(ftruncate)
TRUNCATE(ftruncate64)

#define SYNC(name)                                                                    \
    int name(int file)                                                                \
    {                                                                                 \
        static int (*real)(int);                                                      \
        if (!real)                                                                    \
            real = dlsym(RTLD_NEXT, #name);                                           \
        if (!watched(file))                                                           \
            return real(file);                                                        \
        int32_t number = __sync_add_and_fetch(&syncs, 1);                             \
        record('b', file, number, 0, 0, NULL);                                        \
        int failed = real(file);                                                      \
        if (!failed)                                                                  \
            record('e', file, number, 0, 0, NULL);                                    \
        return failed;                                                                \
    }
SYNC(fsync)
SYNC(fdatasync)
