/* What the Barrier is measured against: processes that meet at a process-shared pthread barrier, over and over. Arguments:
 * parties, rounds. Prints rounds per second. */
#include "common.h"

int main(int argc, char **argv) {
    long parties = number(argc, argv, 1), rounds = number(argc, argv, 2);
    pthread_barrier_t *barrier = shared_memory(sizeof *barrier);
    pthread_barrierattr_t attributes;
    require(pthread_barrierattr_init(&attributes) == 0, "barrierattr_init");
    require(pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED) == 0, "barrierattr_setpshared");
    require(pthread_barrier_init(barrier, &attributes, parties) == 0, "barrier_init");
    double begun = seconds();
    for (long party = 0; party < parties; party++) {
        if (fork() == 0) {
            for (long round = 0; round < rounds; round++)
                pthread_barrier_wait(barrier);
            _exit(0);
        }
    }
    join_all();
    printf("%.0f\n", rounds / (seconds() - begun));
    return 0;
}
