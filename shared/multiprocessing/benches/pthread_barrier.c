/* What the Barrier is measured against: processes that meet at a process-shared pthread barrier, over and over. Arguments:
 * parties, rounds. Prints rounds per second. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    int parties = argc > 1 ? atoi(argv[1]) : 2;
    long rounds = argc > 2 ? atol(argv[2]) : 40000;
    pthread_barrier_t *barrier =
        mmap(NULL, sizeof *barrier, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_barrierattr_t attributes;
    if (barrier == MAP_FAILED || pthread_barrierattr_init(&attributes) != 0 ||
        pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED) != 0 ||
        pthread_barrier_init(barrier, &attributes, parties) != 0)
        return 1;
    double begun = seconds();
    for (int party = 0; party < parties; party++) {
        if (fork() == 0) {
            for (long round = 0; round < rounds; round++)
                pthread_barrier_wait(barrier);
            _exit(0);
        }
    }
    while (wait(NULL) > 0) {
    }
    printf("%.0f\n", rounds / (seconds() - begun));
    return 0;
}
