/* What the Queue is measured against: one process that puts numbers into a ring under a robust process-shared mutex, and one that
 * takes them, with process-shared condition variables to wait on (which do not survive a killed waiter). Arguments: capacity,
 * messages. Prints messages per second. */
#include "common.h"

struct ring {
    pthread_mutex_t mutex;
    pthread_cond_t room, message;
    uint64_t put, taken, slots[];
};

static void put(struct ring *ring, uint64_t capacity, uint64_t message) {
    pthread_mutex_lock(&ring->mutex);
    while (ring->put - ring->taken == capacity)
        pthread_cond_wait(&ring->room, &ring->mutex);
    ring->slots[ring->put++ % capacity] = message;
    pthread_mutex_unlock(&ring->mutex);
    pthread_cond_signal(&ring->message);
}

static uint64_t take(struct ring *ring, uint64_t capacity) {
    pthread_mutex_lock(&ring->mutex);
    while (ring->put == ring->taken)
        pthread_cond_wait(&ring->message, &ring->mutex);
    uint64_t message = ring->slots[ring->taken++ % capacity];
    pthread_mutex_unlock(&ring->mutex);
    pthread_cond_signal(&ring->room);
    return message;
}

int main(int argc, char **argv) {
    uint64_t capacity = number(argc, argv, 1), messages = number(argc, argv, 2);
    struct ring *ring = shared_memory(sizeof *ring + capacity * sizeof *ring->slots);
    make_robust(&ring->mutex);
    make_condition(&ring->room);
    make_condition(&ring->message);
    double begun = seconds();
    if (fork() == 0) {
        for (uint64_t message = 0; message < messages; message++)
            put(ring, capacity, message);
        _exit(0);
    }
    for (uint64_t message = 0; message < messages; message++)
        require(take(ring, capacity) == message, "the order");
    double lasted = seconds() - begun;
    join_all();
    printf("%.0f\n", messages / lasted);
    return 0;
}
