/* What the programs in C share: a clock, memory for processes, a robust mutex in it, and processes. */
#ifndef COMMON_H
#define COMMON_H

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static inline void require(int holds, const char *what) {
    if (!holds) {
        perror(what);
        exit(1);
    }
}

/* Of the monotonic clock. */
static inline double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

/* The argument of this index, which is a number. */
static inline long number(int argc, char **argv, int index) {
    require(index < argc, "too few arguments");
    return atol(argv[index]);
}

/* Memory of zeros that forked processes share. */
static inline void *shared_memory(size_t bytes) {
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    require(memory != MAP_FAILED, "mmap");
    return memory;
}

/* The default kind of mutex, robust and process-shared. */
static inline void make_robust(pthread_mutex_t *mutex) {
    pthread_mutexattr_t attributes;
    require(pthread_mutexattr_init(&attributes) == 0, "mutexattr_init");
    require(pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED) == 0, "mutexattr_setpshared");
    require(pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST) == 0, "mutexattr_setrobust");
    require(pthread_mutex_init(mutex, &attributes) == 0, "mutex_init");
}

static inline void make_condition(pthread_cond_t *condition) {
    pthread_condattr_t attributes;
    require(pthread_condattr_init(&attributes) == 0, "condattr_init");
    require(pthread_condattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED) == 0, "condattr_setpshared");
    require(pthread_cond_init(condition, &attributes) == 0, "cond_init");
}

/* Waits for all children, who must have ended with 0. */
static inline void join_all(void) {
    int status;
    while (wait(&status) > 0)
        require(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a child");
}

#endif
