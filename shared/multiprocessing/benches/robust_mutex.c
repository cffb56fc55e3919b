/* What Value and Lock are measured against: processes that take a robust process-shared pthread mutex, add one to a number, and
 * give the mutex back, over and over. Arguments: processes, increments of each, and "pairs" to take and give back only. Prints
 * increments (or pairs) of all together per second. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct shared {
    pthread_mutex_t mutex;
    volatile uint64_t number;
};

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    int processes = argc > 1 ? atoi(argv[1]) : 2;
    long each = argc > 2 ? atol(argv[2]) : 1000000;
    int add = argc > 3 && strcmp(argv[3], "pairs") == 0 ? 0 : 1;
    struct shared *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_mutexattr_t attributes;
    if (shared == MAP_FAILED || pthread_mutexattr_init(&attributes) != 0 ||
        pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED) != 0 ||
        pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST) != 0 ||
        pthread_mutex_init(&shared->mutex, &attributes) != 0)
        return 1;
    double begun = seconds();
    for (int process = 0; process < processes; process++) {
        if (fork() == 0) {
            for (long i = 0; i < each; i++) {
                if (pthread_mutex_lock(&shared->mutex) != 0)
                    _exit(1);
                if (add)
                    shared->number++;
                if (pthread_mutex_unlock(&shared->mutex) != 0)
                    _exit(1);
            }
            _exit(0);
        }
    }
    while (wait(NULL) > 0) {
    }
    double lasted = seconds() - begun;
    if (shared->number != (uint64_t)(add * processes * each))
        return 1;
    printf("%.0f\n", processes * each / lasted);
    return 0;
}
