// A library to preload into a central: it records the changes of the files in one directory, and
// makes single operations fail.
//
// SHIM_DIRECTORY  the storage directory; other files are left alone
// SHIM_LOG        where to record every change, sync and reply, in one order for all processes
// SHIM_FAULT      a file that a test writes to make the next matching operation fail once: the
//                 operation (write or sync), the name of a file of the directory or * for any, and
//                 how: error, short (fewer bytes are written, and reported), or torn (fewer bytes
//                 are written, and an error is reported), or killed (SIGKILL ends the process
//                 instead). Only for a sync: lost (each open file description reports one error,
//                 as Linux does after it has lost a page), lost-killed (the same, and SIGKILL ends
//                 the process that sees it first), wait (the sync ends once a page is lost), hang
//                 (the sync ends once the test has removed the order), or hang-error (the same, and
//                 it fails)
// SHIM_FAULT.lost where an order goes that has lost a page
// SHIM_FAULT.hung where an order goes while a sync hangs
// SHIM_BOOT       a file to read instead of the identity of the machine's boot
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { REPLY_BYTES = 96, PATH_BYTES = 4096 };

// A record in the log. The name and the data follow it.
struct header {
    uint32_t data_length;
    uint16_t name_length;
    uint8_t operation;
    uint8_t unused;
    uint32_t pid;
    uint32_t unused_too;
    uint64_t offset;
};

static const char *directory, *fault, *boot;
static char lost[PATH_BYTES], hung[PATH_BYTES];
static int log_file = -1;
// Orders operations and their records among all processes, which inherit the mapping.
static pthread_mutex_t *order;

__attribute__((constructor)) static void begin(void) {
    directory = getenv("SHIM_DIRECTORY");
    fault = getenv("SHIM_FAULT");
    boot = getenv("SHIM_BOOT");
    if (fault) snprintf(lost, sizeof lost, "%s.lost", fault);
    if (fault) snprintf(hung, sizeof hung, "%s.hung", fault);
    const char *log = getenv("SHIM_LOG");
    if (!directory || !log) return;
    int low = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    log_file = fcntl(low, F_DUPFD_CLOEXEC, 500);
    close(low);
    order = mmap(NULL, sizeof *order, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(order, &attributes);
}

static void lock(void) {
    if (order && pthread_mutex_lock(order) == EOWNERDEAD) pthread_mutex_consistent(order);
}

static void unlock(void) {
    if (!order) return;
    int kept = errno;
    pthread_mutex_unlock(order);
    errno = kept;
}

static void record(char operation, const char *name, uint64_t offset, const void *data, size_t length) {
    if (log_file < 0) return;
    int kept = errno;
    struct header header = {
        .data_length = length, .name_length = strlen(name), .operation = operation,
        .pid = getpid(), .offset = offset,
    };
    struct iovec parts[] = {
        {&header, sizeof header}, {(void *)name, header.name_length}, {(void *)data, length},
    };
    if (syscall(SYS_writev, log_file, parts, 3) != (long)(sizeof header + header.name_length + length))
        abort();
    errno = kept;
}

// Returns the name of a path inside of the directory, "." for the directory, or NULL.
static const char *inside(const char *path) {
    size_t length = directory ? strlen(directory) : 0;
    if (!length || strncmp(path, directory, length)) return NULL;
    return !path[length] ? "." : path[length] == '/' ? path + length + 1 : NULL;
}

// The same for an open file.
static const char *name_of(int fd, char path[PATH_BYTES]) {
    char link[64];
    if (!directory) return NULL;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_BYTES - 1);
    if (length < 0) return NULL;
    path[length] = 0;
    return inside(path);
}

// Returns how an order in a file makes an operation on a file of the directory fail, or NULL.
static const char *ordered(const char *order, const char *operation, const char *name) {
    static __thread char text[256];
    if (!fault) return NULL;
    int fd = syscall(SYS_openat, AT_FDCWD, order, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) return NULL;
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    text[length < 0 ? 0 : length] = 0;
    char *rest, *wanted = strtok_r(text, " \n", &rest);
    char *file = strtok_r(NULL, " \n", &rest), *how = strtok_r(NULL, " \n", &rest);
    if (!how || strcmp(wanted, operation) || (strcmp(file, "*") && strcmp(file, name))) return NULL;
    return how;
}

// Returns how an operation on a file has to fail, or NULL. Claims the order of the test.
static const char *failure(const char *operation, const char *name) {
    const char *how = ordered(fault, operation, name);
    if (!how || syscall(SYS_unlink, fault)) return NULL;
    if (!strcmp(how, "killed")) raise(SIGKILL);
    return how;
}

// Marks an open file description, which processes may share, with a flag that has no effect on
// files. Returns whether it had the mark.
static int mark(int fd) {
    int flags = fcntl(fd, F_GETFL);
    fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    return flags & O_NONBLOCK;
}

// Returns whether a sync has to fail. Each description reports a lost page once.
static int sync_fails(int fd, const char *name) {
    const char *how = ordered(fault, "sync", name);
    if (how && (!strcmp(how, "lost") || !strcmp(how, "lost-killed"))) {
        mark(fd);
        if (syscall(SYS_rename, fault, lost)) abort();
        if (!strcmp(how, "lost-killed")) raise(SIGKILL);
        return 1;
    }
    if (how && !strncmp(how, "hang", 4) && !syscall(SYS_rename, fault, hung)) {
        while (!access(hung, F_OK)) usleep(1000);
        if (strcmp(how, "hang")) return 1;
    }
    how = failure("sync", name);
    if (how && strcmp(how, "wait")) return 1;
    while (how && access(lost, F_OK)) usleep(1000);
    return ordered(lost, "sync", name) && !mark(fd);
}

static ssize_t write_at(int fd, const void *data, size_t length, off_t offset) {
    char path[PATH_BYTES];
    const char *name = name_of(fd, path);
    if (!name) return syscall(SYS_pwrite64, fd, data, length, offset);
    lock();
    const char *how = failure("write", name);
    size_t part = !how ? length : strcmp(how, "error") ? length / 2 : 0;
    ssize_t written = part || !length ? syscall(SYS_pwrite64, fd, data, part, offset) : 0;
    if (written > 0) record('w', name, offset, data, written);
    if (how && strcmp(how, "short")) {
        errno = EIO;
        written = -1;
    }
    unlock();
    return written;
}

ssize_t pwrite64(int fd, const void *data, size_t length, off_t offset) {
    return write_at(fd, data, length, offset);
}

ssize_t write(int fd, const void *data, size_t length) {
    char path[PATH_BYTES];
    if (!name_of(fd, path)) return syscall(SYS_write, fd, data, length);
    off_t offset = lseek(fd, 0, SEEK_CUR);
    ssize_t written = write_at(fd, data, length, offset);
    if (written > 0) lseek(fd, offset + written, SEEK_SET);
    return written;
}

static int sync_file(int fd, long call) {
    char path[PATH_BYTES];
    const char *name = name_of(fd, path);
    if (!name) return syscall(call, fd);
    lock();
    record('b', name, 0, NULL, 0);
    unlock();
    // Long enough for other processes to append in the meantime.
    struct timespec pause = {0, log_file < 0 ? 0 : (rand() % 800) * 1000L};
    nanosleep(&pause, NULL);
    int fails = sync_fails(fd, name);
    int result = fails ? -1 : syscall(call, fd);
    if (fails) errno = EIO;
    lock();
    record(result ? 'f' : 'e', name, 0, NULL, 0);
    unlock();
    return result;
}

int fdatasync(int fd) { return sync_file(fd, SYS_fdatasync); }

int fsync(int fd) { return sync_file(fd, SYS_fsync); }

int ftruncate64(int fd, off_t length) {
    char path[PATH_BYTES];
    const char *name = name_of(fd, path);
    if (!name) return syscall(SYS_ftruncate, fd, length);
    lock();
    int result = syscall(SYS_ftruncate, fd, length);
    if (!result) record('t', name, length, NULL, 0);
    unlock();
    return result;
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

int posix_fallocate(int fd, off_t offset, off_t length) {
    char path[PATH_BYTES];
    const char *name = name_of(fd, path);
    struct stat before;
    lock();
    fstat(fd, &before);
    int result = syscall(SYS_fallocate, fd, 0, offset, length) ? errno : 0;
    if (name && !result && before.st_size < offset + length) record('t', name, offset + length, NULL, 0);
    unlock();
    return result;
}

int posix_fallocate64(int fd, off_t offset, off_t length) { return posix_fallocate(fd, offset, length); }

int rename(const char *from, const char *to) {
    const char *old = inside(from), *new = inside(to);
    if (!old || !new) return syscall(SYS_rename, from, to);
    lock();
    int result = syscall(SYS_rename, from, to);
    if (!result) record('r', old, 0, new, strlen(new));
    unlock();
    return result;
}

int unlink(const char *path) {
    const char *name = inside(path);
    lock();
    int result = syscall(SYS_unlink, path);
    if (name && !result) record('u', name, 0, NULL, 0);
    unlock();
    return result;
}

static int open_file(const char *path, int flags, mode_t mode) {
    if (boot && !strcmp(path, "/proc/sys/kernel/random/boot_id")) path = boot;
    const char *name = inside(path);
    if (!name || !(flags & (O_CREAT | O_TRUNC))) {
        int fd = syscall(SYS_openat, AT_FDCWD, path, flags, mode);
        // A new description does not report a loss that another one has reported.
        if (name && fd >= 0 && ordered(lost, "sync", name)) mark(fd);
        return fd;
    }
    lock();
    int existed = !access(path, F_OK);
    int fd = syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    if (fd >= 0 && !existed) record('c', name, 0, NULL, 0);
    else if (fd >= 0 && flags & O_TRUNC) record('t', name, 0, NULL, 0);
    unlock();
    return fd;
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    return open_file(path, flags, mode);
}

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    return open_file(path, flags, mode);
}

ssize_t send(int fd, const void *data, size_t length, int flags) {
    if (log_file < 0) return syscall(SYS_sendto, fd, data, length, flags, NULL, 0);
    lock();
    record('a', "", 0, data, length < REPLY_BYTES ? length : REPLY_BYTES);
    ssize_t sent = syscall(SYS_sendto, fd, data, length, flags, NULL, 0);
    unlock();
    return sent;
}
