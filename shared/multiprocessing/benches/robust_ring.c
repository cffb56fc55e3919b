/* What the Queue is measured against: one process that puts numbers into a ring under a robust process-shared mutex, and one that
 * takes them, with process-shared condition variables to wait on (which do not survive a killed waiter). Arguments: capacity,
 * messages. Prints messages per second. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct ring {
    pthread_mutex_t mutex;
    pthread_cond_t room, message;
    uint64_t put, taken, slots[];
};

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

static void put(struct ring *ring, uint64_t capacity, uint64_t number) {
    pthread_mutex_lock(&ring->mutex);
    while (ring->put - ring->taken == capacity)
        pthread_cond_wait(&ring->room, &ring->mutex);
    ring->slots[ring->put++ % capacity] = number;
    pthread_mutex_unlock(&ring->mutex);
    pthread_cond_signal(&ring->message);
}

static uint64_t take(struct ring *ring, uint64_t capacity) {
    pthread_mutex_lock(&ring->mutex);
    while (ring->put == ring->taken)
        pthread_cond_wait(&ring->message, &ring->mutex);
    uint64_t number = ring->slots[ring->taken++ % capacity];
    pthread_mutex_unlock(&ring->mutex);
    pthread_cond_signal(&ring->room);
    return number;
}

int main(int argc, char **argv) {
    uint64_t capacity = argc > 1 ? strtoull(argv[1], NULL, 10) : 64;
    uint64_t messages = argc > 2 ? strtoull(argv[2], NULL, 10) : 300000;
    struct ring *ring = mmap(NULL, sizeof *ring + capacity * sizeof *ring->slots, PROT_READ | PROT_WRITE,
                             MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_mutexattr_t mutex;
    pthread_condattr_t condition;
    if (ring == MAP_FAILED || pthread_mutexattr_init(&mutex) != 0 || pthread_condattr_init(&condition) != 0 ||
        pthread_mutexattr_setpshared(&mutex, PTHREAD_PROCESS_SHARED) != 0 ||
        pthread_mutexattr_setrobust(&mutex, PTHREAD_MUTEX_ROBUST) != 0 ||
        pthread_condattr_setpshared(&condition, PTHREAD_PROCESS_SHARED) != 0 ||
        pthread_mutex_init(&ring->mutex, &mutex) != 0 || pthread_cond_init(&ring->room, &condition) != 0 ||
        pthread_cond_init(&ring->message, &condition) != 0)
        return 1;
    double begun = seconds();
    if (fork() == 0) {
        for (uint64_t number = 0; number < messages; number++)
            put(ring, capacity, number);
        _exit(0);
    }
    for (uint64_t number = 0; number < messages; number++)
        if (take(ring, capacity) != number)
            return 1;
    double took = seconds() - begun;
    wait(NULL);
    printf("%.0f\n", messages / took);
    return 0;
}
