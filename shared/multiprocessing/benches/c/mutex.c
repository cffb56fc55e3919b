/* What Value and Lock are measured against: processes that take a robust process-shared pthread mutex, add one to a number, and
 * give the mutex back, over and over. Arguments: processes, how often each, and 1 to add or 0 to take and give back only. Prints
 * how often all together per second. */
#include "common.h"

struct shared {
    pthread_mutex_t mutex;
    volatile uint64_t number;
};

static int increments(struct shared *shared, long each) {
    for (long i = 0; i < each; i++) {
        if (pthread_mutex_lock(&shared->mutex) != 0)
            return 1;
        shared->number++;
        if (pthread_mutex_unlock(&shared->mutex) != 0)
            return 1;
    }
    return 0;
}

static int pairs(struct shared *shared, long each) {
    for (long i = 0; i < each; i++)
        if (pthread_mutex_lock(&shared->mutex) != 0 || pthread_mutex_unlock(&shared->mutex) != 0)
            return 1;
    return 0;
}

int main(int argc, char **argv) {
    long processes = number(argc, argv, 1), each = number(argc, argv, 2), add = number(argc, argv, 3);
    struct shared *shared = shared_memory(sizeof *shared);
    make_robust(&shared->mutex);
    double begun = seconds();
    for (long process = 0; process < processes; process++)
        if (fork() == 0)
            _exit(add ? increments(shared, each) : pairs(shared, each));
    join_all();
    double lasted = seconds() - begun;
    require(shared->number == (uint64_t)(add * processes * each), "the sum");
    printf("%.0f\n", processes * each / lasted);
    return 0;
}
